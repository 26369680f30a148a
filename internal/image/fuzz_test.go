package image

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// FuzzTemplate checks a spoiled template, and compares it with a sound one: bytes
// of the image are overwritten, four of the input each, and its metadata is what
// comes. Whatever is found, nothing panics, and it can be written down.
func FuzzTemplate(f *testing.F) {
	soundDir := makeTemplate(f, sound(nil))
	image, err := os.ReadFile(filepath.Join(soundDir, rootfsName))
	must(f, err)
	metadata, err := os.ReadFile(filepath.Join(soundDir, metadataName))
	if err != nil {
		metadata = []byte(`{"version":2,"template":{"build_id":"b1","kernel_version":"vmlinux-6.1","firecracker_version":"v1.10"}}`)
	}
	f.Add([]byte{}, metadata)
	f.Add([]byte{0, 4, 0x38, 1}, []byte(`{}`)) // no ext4
	f.Add([]byte{0, 0, 0, 0}, []byte(`{"version":1e999}`))
	f.Add([]byte{0, 4, 0x18, 6}, []byte(`{"template":{"kernel_version":"../../etc"}}`))
	dir := filepath.Join(f.TempDir(), "templates", "b2")
	must(f, os.MkdirAll(dir, 0o755))
	f.Fuzz(func(t *testing.T, patches, metadata []byte) {
		b := bytes.Clone(image)
		for ; len(patches) >= 4; patches = patches[4:] {
			at := int(patches[0])<<16 | int(patches[1])<<8 | int(patches[2])
			b[at%len(b)] = patches[3]
		}
		must(t, os.WriteFile(filepath.Join(dir, rootfsName), b, 0o600))
		must(t, os.WriteFile(filepath.Join(dir, metadataName), metadata, 0o600))
		spoiled, err := Open(dir)
		if err != nil {
			return
		}
		defer spoiled.Close()
		results := Check(spoiled, Host{Kernels: filepath.Dir(dir), VMMs: filepath.Dir(dir), Cache: filepath.Dir(dir)})
		if _, err := json.Marshal(results); err != nil {
			t.Error(err)
		}
		whole, err := Open(soundDir)
		must(t, err)
		defer whole.Close()
		d, err := Diff(whole, spoiled, Host{}, Host{})
		if err != nil {
			return
		}
		if _, err := json.Marshal(d); err != nil {
			t.Error(err)
		}
	})
}
