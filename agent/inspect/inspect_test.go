package inspect

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

func TestConsole(t *testing.T) {
	for text, want := range map[string]string{
		"[    0.3] PCI: System does not support PCI\n":                                                              "",
		"x\n[ 0.8] Kernel panic - not syncing: Attempted to kill init!\n":                                           "guest-panic",
		"[ 0.8] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel.\n":          "guest-no-init guest-panic",
		"[ 0.8] Starting init: /sbin/init exists but couldn't execute it (error -8)\n":                              "guest-no-init",
		"[ 0.8] Kernel panic - not syncing: Requested init /sbin/init failed (error -13).\n":                        "guest-no-init guest-panic",
		"mount: mounting cgroup2 on /sys/fs/cgroup failed: No such file or directory\n":                             "guest-no-cgroup2",
		"mount: /sys/fs/cgroup: unknown filesystem type 'cgroup2'.\n":                                               "guest-no-cgroup2",
		"envd: cannot create cgroup user: read-only file system\n":                                                  "guest-no-cgroup2",
		"[    0.1] Mount-cache hash table entries: 1024\n[ 0.1] cgroup: Disabling memory control group subsystem\n": "",
		"IP-Config: No network devices available\n":                                                                 "guest-no-driver",
		"init: no network interface eth0: is the NIC driver there?\n":                                               "guest-no-driver",
		strings.Repeat("x", 2*consoleTail) + "\nIP-Config: No network devices available\r\n":                        "guest-no-driver",
		"IP-Config: No network devices available\n" + strings.Repeat("x\n", consoleTail):                            "", // too long ago
	} {
		file := filepath.Join(t.TempDir(), "console")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		said, err := Console(file, Said{})
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, f := range said.Faults {
			codes = append(codes, f.Code)
		}
		if got := strings.Join(codes, " "); got != want {
			t.Errorf("%.80q: %q, want %q", text, got, want)
		}
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "none"), "/dev/zero"} {
		if said, err := Console(file, Said{}); err != nil || said.Faults != nil {
			t.Errorf("%s: %v, %v", file, said, err)
		}
	}
}

// A guest may write what it likes: one tidy line of bounded length comes of it.
func FuzzConsole(f *testing.F) {
	f.Add([]byte("Kernel panic - not syncing: \x1b[31m\x00\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range consoleFaults(b) {
			if len(c.Line) > maxLine+3 || strings.ContainsAny(c.Line, "\n\r\x1b\x00\t") || strings.ToValidUTF8(c.Line, "") != c.Line {
				t.Errorf("%q", c.Line)
			}
		}
	})
}

func TestForwards(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	for _, want := range []path.Tristate{path.Yes, path.No} {
		nettest.In(t, ns, func() error {
			return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte{'0' + byte(want-path.No)}, 0)
		})
		if got, err := Forwards(ns); got != want || err != nil {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	if got, err := Forwards(nettest.RandomName("none")); err == nil || got != path.Unknown {
		t.Errorf("no namespace: %s, %v", got, err)
	}
}

// A neighbour that the kernel knows is asked; one that it does not is not.
func TestAskNeighbour(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	tap := nettest.AttachTap(t, ns, "tap0")
	guest := netip.MustParseAddr("169.254.0.21")
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("169.254.0.22/30")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, addr); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	if err := AskNeighbour(ns, "tap0", guest); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_STALE, IP: guest.AsSlice(),
			HardwareAddr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 5}})
	})
	if err := AskNeighbour(ns, "tap0", guest); err != nil {
		t.Fatal(err)
	}
	if err := tap.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const vnet = 10 // struct virtio_net_hdr
	frame := make([]byte, 2048)
	for {
		n, err := tap.Read(frame)
		if err != nil {
			t.Fatal("the guest was not asked: ", err)
		}
		f := frame[vnet:n]
		if len(f) >= 42 && f[12] == 8 && f[13] == 6 { // ARP
			if f[0] != 2 || f[5] != 5 || netip.AddrFrom4([4]byte(f[38:42])) != guest {
				t.Errorf("asked %x for %v, want the guest itself", f[:6], f[38:42])
			}
			break
		}
	}
	if err := AskNeighbour(ns, "tap9", guest); err != nil {
		t.Errorf("a tap that has gone: %v", err)
	}
}
