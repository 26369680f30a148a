package template

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// removeHalfMade removes what a killed build left. The data directory is locked.
func (b builder) removeHalfMade() {
	for _, dir := range []string{b.templates(), filepath.Dir(b.packages()), b.kernel("")} {
		left, _ := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
		for _, path := range left {
			_ = os.RemoveAll(path) // what stays is tried again next time, and is never taken for a build
		}
	}
}

// keepFor is how long a build stays that no alias names any more: a launcher may
// have found it a moment ago.
const keepFor = time.Hour

// prune removes builds of ours that no alias names any more, and then kernels
// that no build needs: every change of envd makes a new build. A build of others
// stays. Machines that run on what goes keep it open.
func (b builder) prune() {
	needed := map[string]bool{}
	entries, _ := os.ReadDir(b.templates())
	for _, e := range entries {
		m, err := readMetadata(b.buildDir(e.Name()))
		if err != nil {
			return // unknown what it needs: remove nothing
		}
		if m.Built != nil && len(b.aliasesOf(e.Name())) == 0 && time.Since(m.Built.BuiltAt) > keepFor {
			_ = os.RemoveAll(b.buildDir(e.Name()))
			continue
		}
		needed[m.Template.KernelVersion] = true
	}
	kernels, _ := os.ReadDir(b.kernel(""))
	for _, e := range kernels {
		if !needed[e.Name()] && strings.Contains(e.Name(), "-cloud-amd64_") { // ours
			_ = os.RemoveAll(b.kernel(e.Name()))
		}
	}
}

func readMetadata(dir string) (Metadata, error) {
	b, err := os.ReadFile(filepath.Join(dir, "metadata.json"))
	if err != nil {
		return Metadata{}, err
	}
	return ParseMetadata(b)
}
