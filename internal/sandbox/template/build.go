package template

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// recipe changes with the rules of this package that are not among the hashed
// inputs (what is kept of a package, how an image is made).
const recipe = "5"

// tmpPrefix begins the name of whatever is half made; the next build removes what
// a killed one left.
const tmpPrefix = ".tmp-"

// Build returns the template made from these inputs: package versions, our files
// for the guest, envd, the variant. It is made where it is not there yet, and
// takes the variant's alias. Versions are asked for once and then kept, until
// Force. A build is visible when it is complete; two at once wait for each other.
func Build(ctx context.Context, o BuildOptions) (Template, error) {
	if err := o.validate(); err != nil {
		return Template{}, err
	}
	envd, err := hashEnvd(o)
	if err != nil {
		return Template{}, err
	}
	if !o.Force {
		if t, err := findBuilt(o, envd); err == nil {
			return t, nil
		}
	}
	if os.Geteuid() != 0 {
		return Template{}, errors.New("build template: not root: the image's files belong to root")
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return Template{}, fmt.Errorf("build template: %w", err)
	}
	unlock, err := lockData(ctx, o.Dir, func() { o.Step("waiting for another build") })
	if err != nil {
		return Template{}, err
	}
	defer unlock()
	if !o.Force { // the other build may have been of this
		if t, err := findBuilt(o, envd); err == nil {
			return t, nil
		}
	}
	return builder{BuildOptions: o, Store: Store{Dir: o.Dir}, envd: envd}.build(ctx)
}

// findBuilt returns the template if it is there, sound and named by its alias.
func findBuilt(o BuildOptions, envd string) (Template, error) {
	s := Store{Dir: o.Dir}
	p, err := openPackages(s.packages())
	if err != nil {
		return Template{}, err
	}
	id := buildID(p.list(), o.Variant, envd)
	if current, err := s.aliased(o.Variant.Alias()); err != nil || current != id {
		return Template{}, ErrNotFound
	}
	return s.open(id)
}

// builder makes one template; the data directory is locked.
type builder struct {
	BuildOptions
	Store
	envd string // sha256; empty for NoEnvd
}

func (b builder) build(ctx context.Context) (Template, error) {
	b.removeHalfMade()
	p, err := b.openOrFetch(ctx)
	if err != nil {
		return Template{}, fmt.Errorf("build template: %w", err)
	}
	id := buildID(p.list(), b.Variant, b.envd)
	if _, err := b.open(id); err != nil || b.Force {
		if err := b.make(ctx, p, id); err != nil {
			return Template{}, fmt.Errorf("build template: %w", err)
		}
	}
	if err := b.point(b.Variant.Alias(), id); err != nil {
		return Template{}, fmt.Errorf("build template: %w", err)
	}
	b.prune()
	return b.open(id)
}

func (s Store) packages() string { return filepath.Join(s.Dir, "cache", "packages") }

// openOrFetch returns the unpacked packages, fetching them where they are absent,
// of another recipe, or Force asks for newer ones.
func (b builder) openOrFetch(ctx context.Context) (packageTree, error) {
	if p, err := openPackages(b.packages()); err == nil && !b.Force {
		return p, nil
	}
	tmp, err := tmpDir(filepath.Dir(b.packages()))
	if err != nil {
		return packageTree{}, err
	}
	defer os.RemoveAll(tmp)
	p, err := fetchPackages(ctx, tmp, b.Step, b.Downloaded)
	if err != nil {
		return packageTree{}, err
	}
	if err := replaceDir(tmp, b.packages()); err != nil {
		return packageTree{}, err
	}
	p.dir = b.packages()
	return p, nil
}

// make writes the kernel, where it is not there yet, and the build.
func (b builder) make(ctx context.Context, p packageTree, id string) error {
	k, err := findModules(p)
	if err != nil {
		return err
	}
	version, err := b.makeKernel(p, k)
	if err != nil {
		return err
	}
	b.Step("making the image of " + b.Variant.Alias())
	tmp, err := tmpDir(b.templates())
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	stage, err := tmpDir(filepath.Dir(b.packages())) // beside the packages: hard links
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	if err := stageRoot(stage, p, k, b.Variant, b.EnvdPath); err != nil {
		return err
	}
	if err := makeImage(ctx, filepath.Join(tmp, "rootfs.ext4"), stage, id); err != nil {
		return err
	}
	if err := b.metadata(p, id, version).write(filepath.Join(tmp, "metadata.json")); err != nil {
		return err
	}
	return replaceDir(tmp, b.buildDir(id)) // visible from here
}

func (b builder) makeKernel(p packageTree, k kernelModules) (version string, err error) {
	files, err := makeKernel(p, k)
	if err != nil {
		return "", err
	}
	dir := b.kernel(files.version)
	if !b.Force && checkBoot(filepath.Join(dir, "vmlinux.bin"), filepath.Join(dir, "initrd.img")) == nil {
		return files.version, nil
	}
	tmp, err := tmpDir(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := files.write(tmp); err != nil {
		return "", err
	}
	return files.version, replaceDir(tmp, dir)
}

func (b builder) metadata(p packageTree, id, kernel string) Metadata {
	home, image := "/home/user", "debian:bookworm"
	return Metadata{
		Version:   2,
		Template:  Versions{BuildID: id, KernelVersion: kernel},
		Context:   Context{User: "user", WorkDir: &home},
		FromImage: &image,
		Built: &Built{
			Alias: b.Variant.Alias(), Variant: b.Variant, EnvdSHA256: b.envd,
			Packages: p.list(), BuiltAt: time.Now().UTC().Truncate(time.Second),
		},
	}
}
