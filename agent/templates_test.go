package agent

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadTemplate(t *testing.T) {
	dir := t.TempDir()
	if got := readTemplate(filepath.Join(dir, "absent"), ""); got != nil {
		t.Errorf("a template that is not there: %+v", got)
	}
	image := filepath.Join(dir, "rootfs.ext4")
	if err := os.WriteFile(image, []byte("no image"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := readTemplate(dir, "")
	if got == nil || got.Dir != dir || len(got.Problems) != 2 || got.Problems[0].Code != "image-unreadable" || got.Problems[1].Code != "metadata-unreadable" {
		t.Fatalf("%+v", got)
	}
}
