package template

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ext4Head is a superblock that says: so many blocks of 1 KiB.
func ext4Head(blocks uint32) []byte {
	b := make([]byte, 2048)
	binary.LittleEndian.PutUint32(b[1024+0x04:], blocks)
	binary.LittleEndian.PutUint16(b[1024+0x38:], 0xEF53)
	return b
}

func bzImageHead() []byte {
	b := make([]byte, 1024)
	copy(b[0x202:], "HdrS")
	return b
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// fakeStore holds one build of ours, "b1" with alias "base", of files that are
// sound as far as a store looks.
func fakeStore(t *testing.T) Store {
	t.Helper()
	s := Store{Dir: t.TempDir()}
	put(t, filepath.Join(s.buildDir("b1"), "metadata.json"),
		[]byte(`{"version":2,"template":{"build_id":"b1","kernel_version":"k1"},"tapwatch":{"alias":"base","variant":"default"}}`))
	put(t, filepath.Join(s.buildDir("b1"), "rootfs.ext4"), ext4Head(2))
	put(t, filepath.Join(s.kernel("k1"), "vmlinux.bin"), bzImageHead())
	var w strings.Builder
	c := cpioWriter{w: &w}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(s.kernel("k1"), "initrd.img"), []byte(w.String()))
	if err := (builder{Store: s}).point("base", "b1"); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFind(t *testing.T) {
	s := fakeStore(t)
	for _, name := range []string{"base", "b1"} {
		got, err := s.Find(name)
		if err != nil {
			t.Fatalf("find %s: %v", name, err)
		}
		if got.ID != "base" || got.BuildID != "b1" || got.Variant != Default || len(got.Aliases) != 1 ||
			got.Kernel != filepath.Join(s.Dir, "kernels/k1/vmlinux.bin") || got.Initrd == "" {
			t.Errorf("find %s: %+v", name, got)
		}
	}
}

func TestFindNothing(t *testing.T) {
	s := fakeStore(t)
	for name, hint := range map[string]string{
		"other": "`tapwatch template build`", "no-driver": "--variant no-driver",
		"": "not a name", "..": "not a name", "../b1": "not a name", ".tmp-1": "not a name", "a/b": "not a name",
	} {
		if _, err := s.Find(name); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), hint) {
			t.Errorf("find %q: %v, want ErrNotFound with %q", name, err, hint)
		}
	}
	if _, err := (Store{Dir: "/nonexistent"}).Find("base"); !errors.Is(err, ErrNotFound) {
		t.Errorf("find in no directory: %v, want ErrNotFound", err)
	}
}

func TestFindDamaged(t *testing.T) {
	tests := []struct {
		name, file string // relative to the data directory
		content    []byte // nil: removed
		says       string
	}{
		{name: "no metadata", file: "templates/b1/metadata.json", says: "metadata.json"},
		{name: "half a metadata", file: "templates/b1/metadata.json", content: []byte(`{"vers`), says: "metadata.json"},
		{name: "no image", file: "templates/b1/rootfs.ext4", says: "rootfs.ext4"},
		{name: "image too short", file: "templates/b1/rootfs.ext4", content: []byte("x"), says: "rootfs.ext4: too short"},
		{name: "image of zeros", file: "templates/b1/rootfs.ext4", content: make([]byte, 4096), says: "not an ext4 image"},
		{name: "image cut short", file: "templates/b1/rootfs.ext4", content: ext4Head(9), says: "cut short: 2048 bytes of 9216"},
		{name: "no kernel", file: "kernels/k1/vmlinux.bin", says: "vmlinux.bin"},
		{name: "empty kernel", file: "kernels/k1/vmlinux.bin", content: []byte{}, says: "vmlinux.bin: too short"},
		{name: "kernel of zeros", file: "kernels/k1/vmlinux.bin", content: make([]byte, 1024), says: "neither an ELF nor a bzImage"},
		{name: "no initrd", file: "kernels/k1/initrd.img", says: "initrd.img"},
		{name: "initrd cut short", file: "kernels/k1/initrd.img", content: []byte(cpioMagic + "0000"), says: "cut short"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakeStore(t)
			path := filepath.Join(s.Dir, tt.file)
			if tt.content != nil {
				put(t, path, tt.content)
			} else if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			_, err := s.Find("base")
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "--force") {
				t.Errorf("error %v, want ErrDamaged with %q and --force", err, tt.says)
			}
			list, err := s.List()
			if len(list) != 0 || !errors.Is(err, ErrDamaged) {
				t.Errorf("list %v, %v, want none and ErrDamaged", list, err)
			}
		})
	}
}

func TestList(t *testing.T) {
	s := fakeStore(t)
	put(t, filepath.Join(s.buildDir("foreign"), "metadata.json"), []byte(`{"buildID":"foreign","kernelVersion":"k2","templateID":"t9"}`))
	put(t, filepath.Join(s.buildDir("foreign"), "rootfs.ext4"), ext4Head(2))
	put(t, filepath.Join(s.kernel("k2"), "vmlinux.bin"), bzImageHead())
	put(t, filepath.Join(s.templates(), ".tmp-1", "rootfs.ext4"), nil) // half made
	list, err := s.List()
	if err != nil || len(list) != 2 {
		t.Fatalf("list %+v, %v, want two", list, err)
	}
	if f := list[0]; f.ID != "t9" || f.Initrd != "" || f.Variant != "" || !f.BuiltAt.IsZero() {
		t.Errorf("template of others: %+v", f)
	}
	if list, err := (Store{Dir: "/nonexistent"}).List(); list != nil || err != nil {
		t.Errorf("list of no directory: %v, %v", list, err)
	}
}

func FuzzCheckExt4(f *testing.F) {
	f.Add(ext4Head(2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkExt4(strings.NewReader(string(b)), int64(len(b))) == nil && len(b) < 2048 {
			t.Error("accepted an image shorter than its superblock")
		}
	})
}

func FuzzCheckKernel(f *testing.F) {
	f.Add(bzImageHead())
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = checkKernel(strings.NewReader(string(b)), int64(len(b))) // must not panic
	})
}

func TestPrune(t *testing.T) {
	s := fakeStore(t)
	old, recent := time.Now().Add(-2*keepFor), time.Now()
	add := func(id, kernel string, built *Built) {
		m := Metadata{Version: 2, Template: Versions{BuildID: id, KernelVersion: kernel}, Built: built}
		put(t, filepath.Join(s.buildDir(id), "rootfs.ext4"), ext4Head(2))
		put(t, filepath.Join(s.kernel(kernel), "vmlinux.bin"), bzImageHead())
		if err := m.write(filepath.Join(s.buildDir(id), "metadata.json")); err != nil {
			t.Fatal(err)
		}
	}
	add("superseded", "6.1-cloud-amd64_1", &Built{Alias: "base", BuiltAt: old})
	add("just-found", "6.1-cloud-amd64_2", &Built{Alias: "base", BuiltAt: recent})
	add("foreign", "6.1-cloud-amd64_3", nil)
	put(t, filepath.Join(s.kernel("vmlinux-6.1.102"), "vmlinux.bin"), bzImageHead()) // not ours
	builder{Store: s}.prune()
	for path, stays := range map[string]bool{
		"templates/b1": true, "templates/superseded": false, "templates/just-found": true, "templates/foreign": true,
		"kernels/k1": true, "kernels/6.1-cloud-amd64_1": false, "kernels/6.1-cloud-amd64_2": true,
		"kernels/6.1-cloud-amd64_3": true, "kernels/vmlinux-6.1.102": true,
	} {
		if exists(filepath.Join(s.Dir, path)) != stays {
			t.Errorf("%s stays: %v, want %v", path, !stays, stays)
		}
	}
}
