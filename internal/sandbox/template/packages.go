package template

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"
)

// packageTree is the unpacked Debian packages, which all builds share:
//
//	{dir}/packages.json  what was unpacked
//	{dir}/root/          the guest's programs
//	{dir}/kernel/        boot/vmlinuz-* and lib/modules/*
//
// It is complete or absent, and never written to again.
type packageTree struct {
	dir      string
	Root     []debPackage `json:"root"`
	Kernel   debPackage   `json:"kernel"`
	Prepared string       `json:"prepared"` // recipe that it was unpacked by
}

func (p packageTree) root() string   { return filepath.Join(p.dir, "root") }
func (p packageTree) kernel() string { return filepath.Join(p.dir, "kernel", "usr") }

// list names all packages as name=version, the kernel last.
func (p packageTree) list() []string {
	var names []string
	for _, pkg := range p.Root {
		names = append(names, pkg.String())
	}
	return append(names, p.Kernel.String())
}

// openPackages returns os.ErrNotExist where nothing was unpacked by this recipe.
func openPackages(dir string) (packageTree, error) {
	b, err := os.ReadFile(filepath.Join(dir, "packages.json"))
	if err != nil {
		return packageTree{}, fmt.Errorf("open packages: %w", err)
	}
	p := packageTree{dir: dir}
	if err := json.Unmarshal(b, &p); err != nil || p.Prepared != recipe {
		return packageTree{}, fmt.Errorf("open packages: %w", os.ErrNotExist)
	}
	return p, nil
}

// fetchPackages resolves, downloads and unpacks into dir, an empty directory.
func fetchPackages(ctx context.Context, dir string, step func(string), downloaded func(done, total int64)) (packageTree, error) {
	p := packageTree{dir: dir, Prepared: recipe}
	a := apt{dir: filepath.Join(dir, "debs")}
	step("resolving packages")
	if err := p.resolve(ctx, a); err != nil {
		return packageTree{}, err
	}
	step(fmt.Sprintf("downloading %d packages", len(p.Root)+1))
	files, err := a.download(ctx, append(slices.Clone(p.Root), p.Kernel), downloaded)
	if err != nil {
		return packageTree{}, err
	}
	step("unpacking packages")
	if err := p.unpack(ctx, files); err != nil {
		return packageTree{}, err
	}
	step("compiling Python's library")
	if err := compilePython(ctx, p.root()); err != nil {
		return packageTree{}, err
	}
	if err := os.RemoveAll(a.dir); err != nil {
		return packageTree{}, fmt.Errorf("remove downloads: %w", err)
	}
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return packageTree{}, fmt.Errorf("write package list: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "packages.json"), b, 0o644); err != nil {
		return packageTree{}, fmt.Errorf("write package list: %w", err)
	}
	return p, nil
}

func (p *packageTree) resolve(ctx context.Context, a apt) error {
	all, err := a.resolve(ctx, append(slices.Clone(rootPackages), "libc6")...)
	if err != nil {
		return err
	}
	p.Root = slices.DeleteFunc(all, func(d debPackage) bool { return slices.Contains(unwanted, d.Name) })
	kernel, err := a.resolve(ctx, kernelPackage)
	if err != nil {
		return err
	}
	p.Kernel, err = splitKernel(kernel)
	return err
}

// unpack extracts the packages, the kernel (as long as all others together)
// beside the rest. Each tree has one writer, since packages share directories.
func (p packageTree) unpack(ctx context.Context, files []string) error {
	kernelDir := filepath.Dir(p.kernel())
	for _, dir := range []string{p.root(), kernelDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("unpack packages: %w", err)
		}
	}
	if err := linkUsr(p.root()); err != nil {
		return err
	}
	last := len(files) - 1
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return unpackDeb(ctx, files[last], kernelDir, keepOfKernel) })
	g.Go(func() error {
		for _, f := range files[:last] {
			if err := unpackDeb(ctx, f, p.root(), keepInGuest); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}
