package template

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// InitramfsFile is a file of an initramfs. It lies in one of initramfsDirs.
type InitramfsFile struct {
	Name string // without a leading slash
	Mode fs.FileMode
	Body []byte
}

var initramfsDirs = []string{"bin", "dev", "modules", "proc", "root"}

// WriteInitramfs writes an initramfs for the kernel of the store's templates: for
// guests that are no sandboxes and live in memory alone. It holds the given files,
// of which the kernel starts init; busybox at bin/busybox; and the named modules
// with all that they need, listed in modules/load in the order of loading.
func (s Store) WriteInitramfs(w io.Writer, moduleNames []string, files []InitramfsFile) error {
	p, err := openPackages(s.packages())
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	k, err := findModules(p)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	all, err := openModules(k.dir)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	load, err := all.order(moduleNames, nil)
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	busybox, err := os.ReadFile(filepath.Join(p.root(), "usr/bin/busybox"))
	if err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	files = append([]InitramfsFile{{Name: "bin/busybox", Mode: 0o755, Body: busybox}}, files...)
	if err := writeInitramfs(w, k.dir, load, files); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}

// writeInitramfs is not compressed: unpacking would cost the guest more than
// reading. load names modules below modulesDir.
func writeInitramfs(w io.Writer, modulesDir string, load []string, files []InitramfsFile) error {
	c := cpioWriter{w: w}
	for _, dir := range initramfsDirs {
		c.add(dir, os.ModeDir|0o755, nil)
	}
	c.addChar("dev/console", 0o600, 5, 1) // else PID 1 has no output
	for _, f := range files {
		c.add(f.Name, f.Mode, f.Body)
	}
	var names []string
	for _, module := range load {
		b, err := os.ReadFile(filepath.Join(modulesDir, module))
		if err != nil {
			return err
		}
		name := filepath.Base(module)
		c.add("modules/"+name, 0o644, b)
		names = append(names, name)
	}
	c.add("modules/load", 0o644, []byte(strings.Join(names, "\n")+"\n"))
	return c.close()
}
