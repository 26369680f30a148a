package discover

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestDirsThatAreNotThereYet(t *testing.T) {
	root := t.TempDir()
	target := filepath.Join(root, "a", "b")
	d, err := newDirs(target)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	watching := func(want string) {
		t.Helper()
		if err := d.ensure(); err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(maps.Keys(d.watched)); !slices.Equal(got, []string{want}) {
			t.Fatalf("watching %q, want %q", got, want)
		}
	}
	// event reads on until the file is named.
	event := func(file string) {
		t.Helper()
		for e := range d.fs.Events {
			if e.Name == file {
				return
			}
		}
	}
	mkdir := func(dir string) {
		t.Helper()
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	watching(root)
	mkdir(filepath.Dir(target))
	event(filepath.Dir(target))
	watching(filepath.Dir(target))
	mkdir(target)
	event(target)
	watching(target)
	file := filepath.Join(target, "1.json")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	event(file)
	if err := os.RemoveAll(target); err != nil {
		t.Fatal(err)
	}
	event(target)
	watching(filepath.Dir(target))
}

func TestDirsConcerns(t *testing.T) {
	d := &dirs{targets: []string{"/run/netns", "/run/tapwatch/slots"}}
	for file, want := range map[string]bool{
		"/run/netns":            true,
		"/run/tapwatch":         true,
		"/run/tapwatch/slots":   true,
		"/run/netns/ns-1":       false,
		"/run/net":              false,
		"/run/tapwatch/slots/1": false,
		"/run/other":            false,
	} {
		if d.concerns(file) != want {
			t.Errorf("%s: %v", file, !want)
		}
	}
}
