package template

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func tarOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, h := range headers {
		h.Uid, h.Gid, h.ModTime = os.Getuid(), os.Getgid(), time.Unix(1e9, 0)
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func everything(string) bool { return true }

func TestUntar(t *testing.T) {
	root := t.TempDir()
	archive := tarOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeDir, Name: "./bin/", Mode: 0o755},
		tar.Header{Typeflag: tar.TypeReg, Name: "./bin/su", Mode: 0o4755},
		tar.Header{Typeflag: tar.TypeLink, Name: "./usr/bin/su2", Linkname: "./bin/su"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./lib64/ld.so", Linkname: "/lib/ld-2.so"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/x/README", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeReg, Name: "./usr/share/doc/x/copyright", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeChar, Name: "./dev/null"},
	)
	if err := untar(archive, root, keepInGuest); err != nil {
		t.Fatal(err)
	}
	su, err := os.Stat(filepath.Join(root, "usr/bin/su"))
	if err != nil {
		t.Fatal(err)
	}
	if su.Mode() != 0o755|fs.ModeSetuid || su.ModTime().Unix() != 1e9 {
		t.Errorf("su is %v of %v", su.Mode(), su.ModTime())
	}
	if su2, err := os.Stat(filepath.Join(root, "usr/bin/su2")); err != nil || !os.SameFile(su, su2) {
		t.Errorf("su2 is not su: %v", err)
	}
	if to, err := os.Readlink(filepath.Join(root, "usr/lib64/ld.so")); to != "/lib/ld-2.so" {
		t.Errorf("ld.so leads to %q, %v", to, err)
	}
	for name, want := range map[string]bool{"usr/share/doc/x/copyright": true, "usr/share/doc/x/README": false, "dev/null": false, "bin": false} {
		if exists(filepath.Join(root, name)) != want {
			t.Errorf("%s exists: %v", name, !want)
		}
	}
}

func TestUntarStaysInside(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"parent":   {{Typeflag: tar.TypeReg, Name: "../victim", Mode: 0o644}},
		"by link":  {{Typeflag: tar.TypeSymlink, Name: "out", Linkname: ".."}, {Typeflag: tar.TypeReg, Name: "out/victim", Mode: 0o644}},
		"by hard":  {{Typeflag: tar.TypeLink, Name: "in", Linkname: "../victim"}},
		"deep":     {{Typeflag: tar.TypeReg, Name: "a/../../victim", Mode: 0o644}},
		"new link": {{Typeflag: tar.TypeSymlink, Name: "out", Linkname: "../victim"}, {Typeflag: tar.TypeReg, Name: "out", Mode: 0o644}},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			root := filepath.Join(parent, "root")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := untar(tarOf(t, headers...), root, everything); err == nil {
				t.Error("no error")
			}
			if exists(filepath.Join(parent, "victim")) {
				t.Error("wrote outside of the root")
			}
		})
	}
}

func TestUntarCutShort(t *testing.T) {
	b := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644}).Bytes()
	if err := untar(bytes.NewReader(b[:514]), t.TempDir(), everything); err == nil {
		t.Error("half an archive unpacked without an error")
	}
}
