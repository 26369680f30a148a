package ext4

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNotAnImage(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": nil, "short": make([]byte, 1500), "zeros": make([]byte, 1<<20), "text": bytes.Repeat([]byte("text"), 1<<18),
	} {
		if _, err := New(bytes.NewReader(b)); !errors.Is(err, ErrNotExt4) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUnsupportedFeature(t *testing.T) {
	b, err := os.ReadFile(makeImage(t, tree(t), "-O", "meta_bg,^resize_inode"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(bytes.NewReader(b)); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "meta_bg") {
		t.Errorf("meta_bg: %v", err)
	}
}

// TestCutShort cuts an image everywhere: what is gone is told as damage, and what
// is still there reads as before.
func TestCutShort(t *testing.T) {
	b, err := os.ReadFile(makeImage(t, tree(t), "-b", "1024"))
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for n := 0; n < len(b); n += 100_003 {
		f, err := New(bytes.NewReader(b[:n]))
		if err == nil {
			err = readAll(f)
		}
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotExt4) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 {
		t.Error("nothing was found missing")
	}
}

// readAll reads a part of every file of an image, as long as there are not too many.
func readAll(f *FS) error {
	left := 2000
	return fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
		if left--; left < 0 || strings.Count(name, "/") > 20 {
			return fs.SkipAll
		}
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			_, err := f.ReadLink(name)
			return err
		}
		if !d.Type().IsRegular() {
			return nil
		}
		r, err := f.Open(name)
		if err != nil {
			return err
		}
		_, err = io.CopyN(io.Discard, r, 1<<16)
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
}

// FuzzImage overwrites bytes of a sound image: four bytes of the input say where
// and with what. All that is wanted is an end without a panic.
func FuzzImage(f *testing.F) {
	images := smallImages(f)
	f.Add(byte(0), []byte{})
	f.Add(byte(1), []byte{0, 4, 0x38, 1})  // another magic
	f.Add(byte(2), []byte{0, 4, 0x18, 6})  // blocks of 64 KiB
	f.Add(byte(0), []byte{0, 4, 0x20, 0})  // groups without blocks
	f.Add(byte(0), []byte{0, 4, 0x58, 1})  // other inodes
	f.Add(byte(0), []byte{0, 4, 0xFE, 33}) // other descriptors
	f.Fuzz(func(_ *testing.T, which byte, patches []byte) {
		readHostile(patch(images[int(which)%len(images)], patches))
	})
}

// TestSpoiled does as FuzzImage does, where it hurts: in what is not zero.
func TestSpoiled(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	images := smallImages(t)
	for n := range 1500 {
		image := images[n%len(images)]
		var patches []byte
		for len(patches) < 4*(1+n%8) {
			at := random.IntN(len(image))
			if image[at] == 0 && at%256 > 32 { // most of it is empty
				continue
			}
			patches = append(patches, byte(at>>16), byte(at>>8), byte(at), byte(random.IntN(256)))
		}
		readHostile(patch(image, patches))
	}
}

// patch overwrites single bytes.
func patch(image, patches []byte) []byte {
	b := bytes.Clone(image)
	for ; len(patches) >= 4; patches = patches[4:] {
		at := int(patches[0])<<16 | int(patches[1])<<8 | int(patches[2])
		b[at%len(b)] = patches[3]
	}
	return b
}

// readHostile reads all that can be read; any error will do.
func readHostile(b []byte) {
	f, err := New(bytes.NewReader(b))
	if err != nil {
		return
	}
	_ = readAll(f)
	for _, name := range []string{"sbin/init", "loop", "many"} {
		_, _ = f.Stat(name)
	}
}

// smallImages are images of few files, in the formats that are read in ways of
// their own.
func smallImages(t testing.TB) (images [][]byte) {
	root := tree(t)
	many, err := filepath.Glob(filepath.Join(root, "many/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range many[20:] {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"big", "holes"} {
		if err := os.Truncate(filepath.Join(root, name), 20_000); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("loop", filepath.Join(root, "loop")); err != nil {
		t.Fatal(err)
	}
	for _, options := range [][]string{
		{"-b", "1024", "-O", "^has_journal"}, {"-b", "1024", "-O", "inline_data,^has_journal", "-I", "512"},
		{"-b", "1024", "-O", "^extents,^64bit,^has_journal"},
	} {
		b, err := os.ReadFile(makeImage(t, root, append(options, "-N", "64")...))
		if err != nil {
			t.Fatal(err)
		}
		b = b[:256<<10] // the rest is empty
		f, err := New(bytes.NewReader(b))
		if err == nil {
			err = readAll(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, b)
	}
	return images
}
