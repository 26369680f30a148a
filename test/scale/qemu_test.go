package scale

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// qemuName is what the launcher starts as its VMM, by PATH. A copy of this test's binary
// of that name is a VMM without a virtual machine: its guest is a namespace that only a
// thread of it is in. It boots as fast as E2B resumes a snapshot.
const qemuName = "qemu-system-x86_64"

func isQEMU() bool { return filepath.Base(os.Args[0]) == qemuName }

// installQEMU puts the stand-in first into PATH.
func installQEMU(t testing.TB) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, qemuName), self, 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func beQEMU() int {
	if err := runQEMU(strings.Join(os.Args[1:], " ")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// option returns what follows a key on the command line, to the next comma or space.
func option(args, key string) string {
	_, rest, _ := strings.Cut(args, key+"=")
	return strings.FieldsFunc(rest+" ", func(r rune) bool { return r == ',' || r == ' ' })[0]
}

func runQEMU(args string) error {
	console, err := os.Create(option(args, "path"))
	if err != nil {
		return err
	}
	fmt.Fprintln(console, "booting")
	tap, err := openOwnTap(option(args, "ifname"))
	if err != nil {
		return err
	}
	name := nettest.RandomName("guest-")
	if err := netns.Create(name); err != nil {
		return err
	}
	return netns.Do(name, func() error { // to the end
		if err := netns.Delete(name); err != nil {
			return err
		}
		return runGuest(tap, option(args, "mac"))
	})
}

// runGuest is the guest, in the thread's namespace.
func runGuest(tap int, mac string) error {
	wire, err := makeGuest(mac)
	if err != nil {
		return fmt.Errorf("make the guest: %w", err)
	}
	go nettest.Carry(tap, wire, -1)
	pause(10, 50)
	if err := setUp("wire", "lo", "eth0"); err != nil {
		return err
	}
	pause(0, 500) // in which the guest refuses envd's port
	envd, err := net.Listen("tcp4", fmt.Sprintf(":%d", e2b.EnvdPort))
	if err != nil {
		return err
	}
	return http.Serve(envd, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })) //nolint:gosec // in a test
}

// pause takes a time between two, in milliseconds.
func pause(from, to int) { time.Sleep(time.Duration(from+rand.IntN(to-from)) * time.Millisecond) }

// openOwnTap attaches to a tap of the process's own namespace.
func openOwnTap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return 0, fmt.Errorf("attach to %s: %w", name, err)
	}
	return fd, nil
}

// makeGuest makes the guest's eth0 in the thread's namespace, and returns a socket at
// the other end of its wire. Frames have the same header there as on the tap. It is no
// tap: an agent would watch it.
func makeGuest(mac string) (int, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return 0, err
	}
	eth0 := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", HardwareAddr: hw}, PeerName: "wire"}
	if err := netlink.LinkAdd(eth0); err != nil {
		return 0, err
	}
	addr := net.ParseIP(e2b.GuestAddr)
	if err := netlink.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: addr, Mask: net.CIDRMask(30, 32)}}); err != nil {
		return 0, err
	}
	// It announces its address, as guests do: the host's kernel would ask again after a second.
	if err := os.WriteFile("/proc/sys/net/ipv4/conf/eth0/arp_notify", []byte("1"), 0); err != nil {
		return 0, err
	}
	wire, err := netlink.LinkByName("wire")
	if err != nil {
		return 0, err
	}
	const all = uint16(unix.ETH_P_ALL)<<8 | unix.ETH_P_ALL>>8 // in the order of the network
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	return fd, errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: wire.Attrs().Index}))
}

func setUp(names ...string) error {
	for _, name := range names {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
