package tapwatch

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// largest is how many bytes a file of the repository may have.
const largest = 256 << 10

// larger names each file that may have more, and why.
var larger = map[string]string{}

// TestNothingBuiltIsCommitted: a binary that git once has is in every clone for
// ever. The eBPF objects are small, and spare whoever builds a clang.
func TestNothingBuiltIsCommitted(t *testing.T) {
	for _, name := range committed(t) {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		switch why := larger[name]; {
		case info.Size() > largest && why == "":
			t.Errorf("%s has %d bytes, the most is %d: a reason for more stands in repo_files_test.go", name, info.Size(), largest)
		case info.Size() <= largest && why != "":
			t.Errorf("%s has %d bytes only, and needs no exception", name, info.Size())
		}
		if object := path.Dir(name) == "bpf" && path.Ext(name) == ".o"; !object && isELF(t, name) {
			t.Errorf("%s is an ELF file: only the objects in bpf/ are committed", name)
		}
	}
}

// committed is what git has and what it would take: not what .gitignore names.
// In a tree that was unpacked without git it is every file.
func committed(t *testing.T) []string {
	t.Helper()
	if _, err := os.Stat(".git"); err != nil {
		return files(t)
	}
	list, err := exec.CommandContext(t.Context(), "git", "-c", "safe.directory=*", "ls-files", "-z", "-co", "--exclude-standard", "--deduplicate").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	var out []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if _, err := os.Lstat(name); err == nil { // else it is removed and not yet committed
			out = append(out, name)
		}
	}
	return out
}

func isELF(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	return err == nil && n == 4 && bytes.Equal(head, []byte("\x7fELF"))
}

// TestLicences: the tree is Apache-2.0. What runs in the kernel is not, and says
// so in each file, to its readers and to the kernel.
func TestLicences(t *testing.T) {
	for name, begins := range map[string]string{
		"LICENSE":                       "Apache License",
		"bpf/LICENSES/GPL-2.0-only.txt": "GNU GENERAL PUBLIC LICENSE",
		"bpf/LICENSES/BSD-2-Clause.txt": "Copyright (c) the Tapwatch authors",
	} {
		first, _, _ := strings.Cut(strings.TrimSpace(read(t, name)), "\n")
		if first != begins {
			t.Errorf("%s begins with %q, not with %q", name, first, begins)
		}
	}
	const spdx = "SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause"
	for _, pattern := range []string{"bpf/*.c", "bpf/*.h"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(names), err)
		}
		for _, name := range names {
			source := read(t, name)
			head := strings.Join(strings.SplitN(source, "\n", 4)[:3], "\n")
			if !strings.Contains(head, spdx) {
				t.Errorf("%s does not say in its first three lines %q", name, spdx)
			}
			if path.Ext(name) == ".c" && !strings.Contains(source, `SEC("license") = "Dual BSD/GPL";`) {
				t.Errorf("%s does not tell the kernel that it is Dual BSD/GPL", name)
			}
		}
	}
	for _, name := range files(t) {
		if ext := path.Ext(name); (ext == ".c" || ext == ".h") && path.Dir(name) != "bpf" {
			t.Errorf("%s: C is in bpf/ alone, where the licences of it are", name)
		}
	}
}
