package ext4

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tree makes a directory with every kind of content that a reader must know.
func tree(t testing.TB) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	write := func(name string, b []byte) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	write("empty", nil)
	write("tiny", []byte("tiny\n"))
	write("inodeful", bytes.Repeat([]byte("i"), 100)) // more than i_block, less than a large inode
	write("big", bytes.Repeat([]byte("0123456789abcdef"), 50_000))
	for i := range 400 { // a directory of several blocks
		write(fmt.Sprintf("many/file-with-a-rather-long-name-%03d", i), []byte(strings.Repeat("x", i%50)))
	}
	write("usr/sbin/init", []byte("#!/bin/sh\n"))
	link("usr/sbin", "sbin")
	link("/usr/sbin/init", "absolute")
	link("../../tiny", "usr/sbin/up")
	link(strings.Repeat("./", 60)+"tiny", "long-link")
	holes, err := os.Create(filepath.Join(root, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	defer holes.Close()
	for _, at := range []int64{0, 300_000, 1_000_000} {
		if _, err := holes.WriteAt([]byte("island"), at); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// makeImage writes a tree into an image with these options of mkfs.ext4.
func makeImage(t testing.TB, root string, options ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image.ext4")
	args := append([]string{"-q", "-F", "-d", root}, options...)
	run(t, "mkfs.ext4", append(args, image, "8M")...)
	return image
}

// run runs a tool of e2fsprogs.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name // not in an ordinary user's PATH
	}
	var out, says bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &says
	err = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); err != nil && (name != "e2fsck" || code > 1) { // 1: it has changed something
		t.Fatalf("%s %v: %v\n%s", name, args, err, says.String())
	}
	return out.String()
}

func open(t testing.TB, image string) *FS {
	t.Helper()
	r, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	f, err := New(r)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
