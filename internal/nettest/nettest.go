// Package nettest gives tests what they need of the kernel: fresh namespaces
// with random names, taps, and the one place where a test may say that the
// machine cannot run it. In CI that place fails instead of skipping.
package nettest

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Unfit ends the test because the machine lacks something: it fails under CI
// or TAPWATCH_TEST_REQUIRE=1 (make test sets it) and skips elsewhere.
func Unfit(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" || os.Getenv("TAPWATCH_TEST_REQUIRE") != "" {
		t.Fatal("this machine cannot run the test: " + why)
	}
	t.Skip(why)
}

// NeedRoot is for tests that make namespaces, taps or hooks.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Unfit(t, "not root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		Unfit(t, "no /dev/net/tun")
	}
}

// RandomName returns prefix and eight random hex digits.
func RandomName(prefix string) string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return prefix + hex.EncodeToString(b)
}

// Netns makes a namespace that the test's end removes, and returns its name.
func Netns(t testing.TB) string {
	t.Helper()
	NeedRoot(t)
	name := RandomName("twtest-")
	if err := netns.Create(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// In runs fn inside a namespace and fails the test on its error.
func In(t testing.TB, ns string, fn func() error) {
	t.Helper()
	if err := netns.Do(ns, fn); err != nil {
		t.Fatal(err)
	}
}

// AttachTap opens the tap of that name in a namespace as a VMM would, which
// gives it carrier; closing the file takes it away. The tap is made where it
// does not exist, and then goes with the file.
func AttachTap(t testing.TB, ns, tap string) *os.File {
	t.Helper()
	var f *os.File
	In(t, ns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(tap)
		if err != nil {
			unix.Close(fd)
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), filepath.Join("/dev/net/tun", tap))
		return nil
	})
	t.Cleanup(func() { f.Close() })
	return f
}
