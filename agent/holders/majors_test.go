package holders

import (
	"fmt"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func TestParseMajors(t *testing.T) {
	for name, c := range map[string]struct {
		devices string
		want    [2]uint32
	}{
		"nothing":            {"", [2]uint32{}},
		"neither":            {"Character devices:\n  1 mem\n\nBlock devices:\n  7 loop\n", [2]uint32{}},
		"one":                {"Character devices:\n  1 mem\n246 macvtap\n", [2]uint32{246, 0}},
		"both":               {"Character devices:\n246 macvtap\n245 ipvtap\n", [2]uint32{246, 245}},
		"a block device":     {"Character devices:\n  1 mem\n\nBlock devices:\n246 macvtap\n", [2]uint32{}},
		"not quite its name": {"Character devices:\n246 macvtap2\n", [2]uint32{}},
		"no number":          {"x macvtap\nmacvtap\n99999999999 macvtap\n", [2]uint32{}},
	} {
		if got := parseMajors(c.devices); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// The holder of a macvtap device is listed, by the namespace that the device is in.
func TestMacvtap(t *testing.T) {
	r := open(t, Config{})
	if err := r.Lacks(); err != nil {
		nettest.Unfit(t, "no iterator: "+err.Error())
	}
	ns := nettest.Netns(t)
	nettest.Veth(t, ns)
	name := nettest.RandomName("mv")
	nettest.In(t, ns, func() error {
		parent, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = name, parent.Attrs().Index
		err = netlink.LinkAdd(&netlink.Macvtap{Macvlan: netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}})
		if err != nil {
			nettest.Unfit(t, "no macvtap: "+err.Error())
		}
		return nil
	})
	d := nettest.Device(t, ns, name)
	if h := holderOf(t, r, d); h != nil {
		t.Errorf("nobody has it open, and it is held: %+v", h)
	}
	if !r.KnowsMacvtap() || open(t, Config{ByProc: true}).KnowsMacvtap() {
		t.Error("the iterator does not list macvtap, or /proc does")
	}
	queue := openQueue(t, ns, d)
	self, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	h := holderOf(t, r, d)
	if h == nil {
		t.Fatal("its holder is not listed")
	}
	if h.PID != os.Getpid() || h.TapName != name || h.FD != int(queue.Fd()) || h.ProcessNetns != self {
		t.Errorf("holder %+v, want this process (%d) and file %d", h, os.Getpid(), queue.Fd())
	}
	queue.Close()
	if h := holderOf(t, r, d); h != nil {
		t.Errorf("closed, and still held: %+v", h)
	}
}

func holderOf(t *testing.T, r *Reader, d netns.Device) *Holder {
	t.Helper()
	all, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		if h.Tap == d {
			return &h
		}
	}
	return nil
}

// openQueue opens a queue of a macvtap device by a node of its own: whether /dev has
// one is the host's affair.
func openQueue(t *testing.T, ns string, d netns.Device) *os.File {
	t.Helper()
	var major, minor uint32
	nettest.In(t, ns, func() error {
		dir := t.TempDir()
		if err := unix.Mount("sysfs", dir, "sysfs", 0, ""); err != nil { // shows the namespace's own devices
			return err
		}
		defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		b, err := os.ReadFile(fmt.Sprintf("%s/class/macvtap/tap%d/dev", dir, d.Ifindex))
		if err != nil {
			return err
		}
		_, err = fmt.Sscanf(string(b), "%d:%d", &major, &minor)
		return err
	})
	node := t.TempDir() + "/tap"
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
