package image

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// FileDifference is a file that is not the same in both templates.
type FileDifference struct {
	Name string `json:"name"`
	A    string `json:"a"` // what it is there; "none"
	B    string `json:"b"`
}

// comparedDirs are compared whole: a guest without a module has no network interface. In
// others only what bears envd's name is.
var comparedDirs = []string{"sbin", "etc", modules}

const modules = "lib/modules"

const (
	// maxFiles and maxDepth bound what is compared.
	maxFiles = 20_000
	maxDepth = 32
)

// compareFiles lists what differs.
func (d *Difference) compareFiles(a, b *Template) {
	fa, fb := d.files(a), d.files(b)
	names := maps.Clone(fa)
	maps.Copy(names, fb)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		ia, ib := fa[name], fb[name]
		if ia == nil || ib == nil || !alike(ia, ib) || d.otherContent(a, b, name, ia) {
			d.Files = append(d.Files, FileDifference{Name: "/" + name, A: a.describe(name, ia), B: b.describe(name, ib)})
		}
	}
}

// alike compares all but the content.
func alike(a, b fs.FileInfo) bool {
	return a.Mode() == b.Mode() && a.Sys() == b.Sys() && (a.IsDir() || a.Size() == b.Size())
}

// otherContent compares files of the same mode and size.
func (d *Difference) otherContent(a, b *Template, name string, info fs.FileInfo) bool {
	read := func(t *Template) string {
		var s string
		var err error
		switch {
		case info.Mode().IsRegular():
			s, err = t.hash(name)
		case info.Mode()&fs.ModeSymlink != 0:
			s, err = t.FS.ReadLink(name)
		}
		if err != nil {
			d.Unread = append(d.Unread, fmt.Sprintf("%s of %s: %v", "/"+name, t.Name, err))
		}
		return s
	}
	return read(a) != read(b)
}

// files is everything in the places that are compared.
func (d *Difference) files(t *Template) map[string]fs.FileInfo {
	found := map[string]fs.FileInfo{}
	for _, dir := range comparedDirs {
		if usr := "usr/" + dir; dir == modules && t.isDir(usr) { // lib itself is mostly a link
			dir = usr
		}
		d.walk(t, found, dir)
	}
	for _, dir := range envdDirs {
		list, err := t.FS.ReadDir(dir)
		if err != nil {
			continue // most are absent
		}
		for _, e := range list {
			if name := path.Join(dir, e.Name()); strings.Contains(e.Name(), "envd") && found[name] == nil {
				d.walk(t, found, name)
			}
		}
	}
	return found
}

func (t *Template) isDir(name string) bool {
	info, err := t.FS.Lstat(name)
	return err == nil && info.IsDir()
}

// walk adds a file, and where it is a directory what lies below.
func (d *Difference) walk(t *Template, found map[string]fs.FileInfo, root string) {
	_ = fs.WalkDir(t.FS, root, func(name string, e fs.DirEntry, err error) error {
		if missing(err) && name == root {
			return nil
		}
		if err != nil {
			d.Unread = append(d.Unread, fmt.Sprintf("/%s of %s: %v", name, t.Name, err))
			return nil
		}
		if len(found) >= maxFiles || strings.Count(name, "/") > maxDepth {
			d.Unread = append(d.Unread, fmt.Sprintf("/%s of %s and what follows: too much", name, t.Name))
			return fs.SkipAll
		}
		if info, err := e.Info(); err == nil {
			found[name] = info
		}
		return nil
	})
}

// describe is a file in a few words.
func (t *Template) describe(name string, info fs.FileInfo) string {
	if info == nil {
		return "none"
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := t.FS.ReadLink(name)
		if err != nil {
			target = "?"
		}
		return "-> " + clip(target)
	case info.IsDir():
		return info.Mode().String()
	case !info.Mode().IsRegular():
		return info.Mode().String()
	}
	sum, err := t.hash(name)
	if err != nil {
		sum = "unreadable  "
	}
	return fmt.Sprintf("%v, %d bytes, sha256 %s", info.Mode(), info.Size(), sum[:12])
}
