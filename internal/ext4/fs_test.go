package ext4

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// formats are the ways in which an image can hold the same tree.
var formats = map[string][]string{
	"as Debian makes it":   nil,
	"blocks of 1 KiB":      {"-b", "1024"},
	"without 64bit":        {"-O", "^64bit"},
	"inline data":          {"-O", "inline_data", "-I", "512"},
	"small inodes":         {"-I", "128"},
	"block numbers":        {"-O", "^extents,^64bit", "-b", "1024"},
	"without checksums":    {"-O", "^metadata_csum"},
	"without a journal":    {"-O", "^has_journal"},
	"many small groups":    {"-b", "1024", "-g", "1024", "-N", "2048"},
	"without flexible bgs": {"-O", "^flex_bg"},
}

func TestReadsWhatMkfsWrote(t *testing.T) {
	root := tree(t)
	for name, options := range formats {
		t.Run(name, func(t *testing.T) {
			image := makeImage(t, root, options...)
			if name == "as Debian makes it" { // directories with an index
				run(t, "e2fsck", "-f", "-y", "-D", image)
			}
			same(t, os.DirFS(root), open(t, image))
		})
	}
}

// same compares every file of want with got's.
func same(t *testing.T, want fs.FS, got *FS) {
	t.Helper()
	n := 0
	err := fs.WalkDir(want, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n++
		sameFile(t, want, got, name, d)
		return nil
	})
	if err != nil || n < 400 {
		t.Fatalf("%d files compared: %v", n, err)
	}
}

func sameFile(t *testing.T, want fs.FS, got *FS, name string, d fs.DirEntry) {
	t.Helper()
	wi, err := d.Info()
	if err != nil {
		t.Fatal(err)
	}
	gi, err := got.Lstat(name)
	if err != nil {
		t.Error(err)
		return
	}
	if gi.Mode() != wi.Mode() || !wi.IsDir() && gi.Size() != wi.Size() {
		t.Errorf("%s: %v, %d bytes, not %v, %d", name, gi.Mode(), gi.Size(), wi.Mode(), wi.Size())
	}
	if d.Type().IsRegular() {
		w, _ := fs.ReadFile(want, name)
		g, err := fs.ReadFile(got, name)
		if err != nil || !bytes.Equal(w, g) {
			t.Errorf("%s: %d bytes that differ from %d: %v", name, len(g), len(w), err)
		}
	}
	if d.Type()&fs.ModeSymlink != 0 {
		w, _ := fs.ReadLink(want, name)
		if g, err := got.ReadLink(name); err != nil || g != w {
			t.Errorf("%s leads to %q, not %q: %v", name, g, w, err)
		}
	}
}

// TestFS holds it to what io/fs asks of a file system.
func TestFS(t *testing.T) {
	root := tree(t)
	if err := os.RemoveAll(filepath.Join(root, "many")); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(open(t, makeImage(t, root)), "tiny", "usr/sbin/init", "holes"); err != nil {
		t.Error(err)
	}
}

func TestLinks(t *testing.T) {
	root := tree(t)
	for name, target := range map[string]string{"loop1": "loop2", "loop2": "loop1", "nowhere": "no/such", "out": "../../../../tiny", "under-file": "tiny/x"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, makeImage(t, root))
	for name, want := range map[string]string{
		"sbin/init": "#!/bin/sh\n", "absolute": "#!/bin/sh\n", "sbin/up": "tiny\n", "long-link": "tiny\n", "out": "tiny\n",
	} {
		if got, err := fs.ReadFile(f, name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]error{
		"loop1": errLoop, "nowhere": fs.ErrNotExist, "under-file": errNotDir, "../tiny": fs.ErrInvalid, "absent": fs.ErrNotExist,
	} {
		if _, err := f.Stat(name); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}
