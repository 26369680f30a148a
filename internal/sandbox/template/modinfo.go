package template

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// modules is an unpacked /lib/modules/{release}. Debian makes modules.dep at
// installation, and nothing is installed here, so the dependencies are read from
// the modules themselves.
type modules struct {
	dir   string
	paths map[string]string // module name -> path relative to dir
}

func openModules(dir string) (modules, error) {
	m := modules{dir: dir, paths: map[string]string{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := strings.CutSuffix(d.Name(), ".ko"); ok {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			m.paths[moduleName(name)] = rel
		}
		return nil
	})
	if err != nil {
		return modules{}, fmt.Errorf("list kernel modules: %w", err)
	}
	return m, nil
}

// moduleName is the kernel's spelling: it takes - and _ for the same.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// order returns the paths of the named modules and of all that they need, in the
// order in which they can be loaded. Modules in loaded are left out.
func (m modules) order(names []string, loaded []string) ([]string, error) {
	done := map[string]bool{}
	for _, path := range loaded {
		done[path] = true
	}
	var paths []string
	var visit func(name string) error
	visit = func(name string) error {
		path, ok := m.paths[moduleName(name)]
		if !ok {
			return fmt.Errorf("kernel has no module %s", name)
		}
		if done[path] {
			return nil
		}
		done[path] = true // before its dependencies: a cycle must end
		depends, err := dependsOf(filepath.Join(m.dir, path))
		if err != nil {
			return err
		}
		for _, d := range depends {
			if err := visit(d); err != nil {
				return err
			}
		}
		paths = append(paths, path)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// dependsOf reads "depends=a,b" from a module's .modinfo section.
func dependsOf(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read kernel module: %w", err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("read kernel module %s: no .modinfo", path)
	}
	data, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("read kernel module %s: %w", path, err)
	}
	for _, field := range bytes.Split(data, []byte{0}) {
		if v, ok := strings.CutPrefix(string(field), "depends="); ok && v != "" {
			return strings.Split(v, ","), nil
		}
	}
	return nil, nil
}
