package discover

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tapwatch/agent/identity"
	"tapwatch/internal/proc"
)

func TestMountedRoot(t *testing.T) {
	for name, c := range map[string]struct{ mounts, want string }{
		"a container":        {"1 0 0:5 / / rw - overlay o rw\n2 1 0:9 / /proc rw - proc p rw\n", "/"},
		"a jail":             {"1 0 8:1 /srv/jailer/firecracker/i1/root / rw - ext4 d rw\n", "/srv/jailer/firecracker/i1/root"},
		"two, one above":     {"1 0 8:1 /a / rw - ext4 d rw\n2 1 8:1 /b / rw - ext4 d rw\n", "/b"},
		"the old root is in": {"1 0 8:1 /jail/root / rw - ext4 d rw\n2 1 8:1 / /old rw - ext4 d rw\n", "/jail/root"},
		"blanks":             {"1 0 8:1 /a\\040b\\134c / rw - ext4 d rw\n", "/a b\\c"},
		"nothing":            {"", "/"},
		"short":              {"1 0 8:1 /a", "/"},
	} {
		if got := mountedRoot(c.mounts); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestArgumentsThatDoNotFit(t *testing.T) {
	dir := procDir(os.Getpid())
	whole := readArgs(dir, make([]byte, argsMost))
	if got := splitArgs(whole); len(got) != len(os.Args) || got[0] != os.Args[0] {
		t.Fatalf("the test's arguments: %q, want %q", got, os.Args)
	}
	first := len(os.Args[0]) + 1
	for n := 1; n < len(whole); n++ {
		got := readArgs(dir, make([]byte, n))
		if !bytes.HasPrefix(whole, got) || n >= first && got[len(got)-1] != 0 {
			t.Fatalf("%d bytes: %q", n, got)
		}
	}
	if got := splitArgs(nil); got != nil {
		t.Errorf("no command line is %q", got)
	}
	if got := readArgs(procDir(1<<22), make([]byte, 8)); got != nil { // above pid_max
		t.Errorf("no process has %q", got)
	}
}

func TestCgroup(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"unified":        {"0::/system.slice/fc.service\n", "/system.slice/fc.service"},
		"legacy":         {"3:cpu:/a/bc\n2:memory:/a\n", "/a/bc"},
		"both":           {"3:cpu:/a/b/c/d\n0::/a\n", "/a"},
		"unified unused": {"3:cpu:/a/b\n0::/\n", "/a/b"},
		"the root":       {"0::/\n", "/"},
		"colons":         {"0::/a:b\n", "/a:b"},
		"cut":            {"0::/a", ""},
		"nothing":        {"", ""},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cgroup"), []byte(c.file), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := cgroupOf(dir); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestFactsOfThisProcess(t *testing.T) {
	s, err := proc.StatOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f := factsOf(s, os.Args)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSuffix(exe, " (deleted)") != f.Exe || f.Cwd != cwd || f.Root != "/" || f.UID != identity.NoUID || f.Command != s.Command {
		t.Errorf("%+v", f)
	}
	if user := userOf(os.Getpid()); user != uint32(os.Geteuid()) {
		t.Errorf("run by user %d, want %d", user, os.Geteuid())
	}
}
