package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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
func fetchPackages(ctx context.Context, dir string, step func(string)) (packageTree, error) {
	p := packageTree{dir: dir, Prepared: recipe}
	a := apt{dir: filepath.Join(dir, "debs")}
	step("resolving packages")
	if err := p.resolve(ctx, a); err != nil {
		return packageTree{}, err
	}
	step(fmt.Sprintf("downloading %d packages", len(p.Root)+1))
	files, err := a.download(ctx, append(slices.Clone(p.Root), p.Kernel))
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

// linkUsr makes the links of a merged /usr: see mergeUsr.
func linkUsr(root string) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", name), 0o755); err != nil {
			return fmt.Errorf("merge /usr: %w", err)
		}
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			return fmt.Errorf("merge /usr: %w", err)
		}
	}
	return nil
}

// keepInGuest leaves out what nobody reads in a sandbox; licences stay.
func keepInGuest(name string) bool {
	for _, dir := range []string{"usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/", "usr/lib/x86_64-linux-gnu/gconv/"} {
		if strings.HasPrefix(name+"/", dir) {
			return false
		}
	}
	return !strings.HasPrefix(name, "usr/share/doc/") || path.Base(name) == "copyright"
}

// keepOfKernel keeps the image and those directories of modules that hold ours.
func keepOfKernel(name string) bool {
	if strings.HasPrefix(name, "boot/vmlinuz-") {
		return true
	}
	for _, dir := range []string{"/kernel/drivers/virtio/", "/kernel/drivers/block/", "/kernel/drivers/net/", "/kernel/net/core/"} {
		if strings.Contains(name, dir) && path.Ext(name) == ".ko" {
			return true
		}
	}
	return false
}

// compilePython does what the packages' scripts would: a guest compiles its
// imports at every start otherwise, which takes seconds under emulation. The
// compiled files do not depend on times, so that two builds agree.
func compilePython(ctx context.Context, root string) error {
	versions, err := filepath.Glob(filepath.Join(root, "usr/lib/python3.*"))
	if err != nil || len(versions) == 0 {
		return errors.New("compile Python's library: no python3 was unpacked")
	}
	lib := "/usr/lib/" + filepath.Base(versions[0])
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-I", "-m", "compileall", "-q",
		"--invalidation-mode", "unchecked-hash", "-x", `/(test|tests|lib2to3|idlelib)/`, lib)
	ownGroup(cmd)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONHASHSEED=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Chroot: root}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile Python's library: %w", toolError(ctx, "python3", err, string(out)))
	}
	if compiled, _ := fs.Glob(os.DirFS(root), strings.TrimPrefix(lib, "/")+"/__pycache__/os.*.pyc"); len(compiled) == 0 {
		return errors.New("compile Python's library: nothing was compiled")
	}
	return nil
}
