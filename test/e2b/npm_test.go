package e2b

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tapwatch/internal/nettest"
)

// installSDK installs what package-lock.json pins, where that is not there yet,
// and returns a node that is new enough for the SDK: Debian's is not, so it is
// among the pinned packages.
func installSDK(t *testing.T) (node string) {
	t.Helper()
	if installed, err := upToDate(); err != nil {
		t.Fatal(err)
	} else if !installed {
		npm := exec.CommandContext(t.Context(), "npm", "ci")
		if out, err := npm.CombinedOutput(); err != nil {
			nettest.Unfit(t, fmt.Sprintf("npm ci: %v\n%s", err, out))
		}
	}
	if _, err := os.Stat("run.mjs"); err != nil { // also tells go test's cache about it
		t.Fatal(err)
	}
	return filepath.Join("node_modules", ".bin", "node")
}

// upToDate compares npm's record of what it installed with the lock file.
func upToDate() (bool, error) {
	want, err := os.Stat("package-lock.json")
	if err != nil {
		return false, err
	}
	have, err := os.Stat(filepath.Join("node_modules", ".package-lock.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && have.ModTime().After(want.ModTime()), err
}
