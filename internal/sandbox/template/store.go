package template

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// DefaultDir is where templates and kernels are kept.
const DefaultDir = "/var/lib/tapwatch"

var (
	// ErrNotFound is returned for a name that is no alias, template or build.
	ErrNotFound = errors.New("template not found")
	// ErrDamaged is returned for a template that is there but cannot be booted.
	ErrDamaged = errors.New("template damaged")
)

// Store is a data directory. It reads only; Build writes.
type Store struct{ Dir string }

func (s Store) templates() string            { return filepath.Join(s.Dir, "templates") }
func (s Store) buildDir(id string) string    { return filepath.Join(s.templates(), id) }
func (s Store) aliases() string              { return filepath.Join(s.Dir, "aliases") }
func (s Store) alias(name string) string     { return filepath.Join(s.aliases(), name) }
func (s Store) kernel(version string) string { return filepath.Join(s.Dir, "kernels", version) }

// Find returns the template of that alias, template id or build id. The error is
// ErrNotFound, or ErrDamaged naming the file that is missing or cut short.
func (s Store) Find(name string) (Template, error) {
	if !isName(name) {
		return Template{}, fmt.Errorf("%w: %q is not a name", ErrNotFound, name)
	}
	if id, err := s.aliased(name); err == nil {
		return s.open(id)
	}
	if _, err := os.Stat(s.buildDir(name)); err == nil {
		return s.open(name)
	}
	return Template{}, fmt.Errorf("%w: no %q in %s: build it with `tapwatch template build%s`", ErrNotFound, name, s.Dir, buildFlag(name))
}

// Locate returns the directory of the template of that alias or build id, sound or
// not. The error is ErrNotFound.
func (s Store) Locate(name string) (dir string, err error) {
	if !isName(name) {
		return "", fmt.Errorf("%w: %q is not a name", ErrNotFound, name)
	}
	id, err := s.aliased(name)
	if err != nil {
		id = name
	}
	dir = s.buildDir(id)
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("%w: no %q in %s", ErrNotFound, name, s.Dir)
	}
	return dir, nil
}

// buildFlag is what builds the template of that alias, where one of ours has it.
func buildFlag(alias string) string {
	for _, v := range Variants() {
		if v != Default && v.Alias() == alias {
			return " --variant " + string(v)
		}
	}
	return ""
}

// List returns every sound template, by alias and then by build id, together
// with the joined errors of the damaged ones. No directory is an empty list.
func (s Store) List() ([]Template, error) {
	entries, err := os.ReadDir(s.templates())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list templates: %w", err)
	}
	var found []Template
	var errs []error
	for _, e := range entries {
		if e.Name()[0] == '.' {
			continue // being built
		}
		t, err := s.open(e.Name())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, t)
	}
	slices.SortStableFunc(found, func(a, b Template) int { return slices.Compare(a.Aliases, b.Aliases) })
	return found, errors.Join(errs...)
}

// open reads one build and checks that all it needs is there.
func (s Store) open(id string) (Template, error) {
	dir := s.buildDir(id)
	b, err := os.ReadFile(filepath.Join(dir, "metadata.json"))
	if err != nil {
		return Template{}, damaged(id, err)
	}
	m, err := ParseMetadata(b)
	if err != nil {
		return Template{}, damaged(id, fmt.Errorf("%s: %w", filepath.Join(dir, "metadata.json"), err))
	}
	t := Template{
		ID: m.TemplateID, BuildID: id, Aliases: s.aliasesOf(id), Dir: dir,
		Rootfs:        filepath.Join(dir, "rootfs.ext4"),
		Kernel:        filepath.Join(s.kernel(m.Template.KernelVersion), "vmlinux.bin"),
		KernelVersion: m.Template.KernelVersion,
	}
	if m.Built != nil {
		t.ID, t.Variant, t.BuiltAt = m.Built.Alias, m.Built.Variant, m.Built.BuiltAt
	}
	if t.ID == "" {
		t.ID = id
	}
	initrd := filepath.Join(filepath.Dir(t.Kernel), "initrd.img")
	if _, err := os.Stat(initrd); err == nil || m.Built != nil { // ours always need one
		t.Initrd = initrd
	}
	if err := t.check(); err != nil {
		return Template{}, damaged(id, err)
	}
	return t, nil
}

func damaged(id string, why error) error {
	return fmt.Errorf("%w: %s: %w: build it again with `tapwatch template build --force`", ErrDamaged, id, why)
}

// aliased returns the build that an alias points to.
func (s Store) aliased(alias string) (string, error) {
	target, err := os.Readlink(s.alias(alias))
	if err != nil {
		return "", err
	}
	return filepath.Base(target), nil
}

func (s Store) aliasesOf(id string) []string {
	entries, _ := os.ReadDir(s.aliases()) // no directory: no aliases
	var names []string
	for _, e := range entries {
		if to, err := s.aliased(e.Name()); err == nil && to == id {
			names = append(names, e.Name())
		}
	}
	return names
}
