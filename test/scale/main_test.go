// Package scale measures the agent on a host with thousands of slots, and holds
// it to leaving nothing behind when they come and go.
package scale

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// inside is set in the copy of the test that has namespaces of its own.
const inside = "TAPWATCH_SCALE_INSIDE"

// TestMain runs the tests in a mount and a network namespace of their own: ten
// thousand slots bear E2B's names, and no other agent on this machine is to see
// them. What they hold goes with the process, however it ends.
func TestMain(m *testing.M) {
	if os.Getenv(vmmMark) != "" {
		os.Exit(beVMM())
	}
	if isQEMU() {
		os.Exit(beQEMU())
	}
	if os.Geteuid() != 0 || os.Getenv(inside) != "" {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "test/scale:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(again())
}

func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "test/scale:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// settle makes the new namespaces fit to live in.
func settle() error {
	if os.Getenv(inside) == "" {
		return nil // not root: the tests say so themselves
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// Records and notes lie in memory on every host; a test's directory may not. A
	// mount on a directory that others make and remove would go with it.
	const run = "/run"
	if err := unix.Mount("tmpfs", run, "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount %s: %w", run, err)
	}
	for _, dir := range []string{netns.Dir, registry.DefaultDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
}

// field reads a number from a file of /proc by its name there.
func field(file, name string) (n int64, err error) {
	s, err := stringField(file, name)
	if err == nil {
		_, err = fmt.Sscan(s, &n)
	}
	return n, err
}

func stringField(file, name string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("%s has no %s", file, name)
}
