package api

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// Who follows a console sees what comes after it was cut.
func TestFollowedConsoleIsCut(t *testing.T) {
	name := filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(name, []byte("a long console"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if wasCut(f) {
		t.Error("cut before it was read")
	}
	if _, err := io.Copy(io.Discard, f); err != nil {
		t.Fatal(err)
	}
	if wasCut(f) {
		t.Error("cut where it only ended")
	}
	if err := os.WriteFile(name, []byte("cut"), 0o600); err != nil { // the same file, shorter
		t.Fatal(err)
	}
	if !wasCut(f) {
		t.Error("not seen to be cut")
	}
}
