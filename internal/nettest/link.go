package nettest

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Tap makes a persistent tap in a namespace and brings it up, as a pooled slot
// has it: nobody holds it, so it has no carrier. It goes with the namespace.
func Tap(t testing.TB, ns, tap string) {
	t.Helper()
	persistent(t, ns, tap)
	SetUp(t, ns, tap, true)
}

func persistent(t testing.TB, ns, tap string) {
	t.Helper()
	// A process that another test forks meanwhile would hold the tap for a moment.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f := AttachTap(t, ns, tap)
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1); err != nil {
		t.Fatal(err)
	}
}

// Device is how a link in a namespace is known for good.
func Device(t testing.TB, ns, link string) (d netns.Device) {
	t.Helper()
	In(t, ns, func() (err error) {
		if d.Netns, err = netns.Current(); err != nil {
			return err
		}
		l, err := netlink.LinkByName(link)
		if err == nil {
			d.Ifindex = netns.Ifindex(l.Attrs().Index)
		}
		return err
	})
	return d
}

// SetUp sets the administrative state of a link in a namespace.
func SetUp(t testing.TB, ns, link string, up bool) {
	t.Helper()
	In(t, ns, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(l)
		}
		return netlink.LinkSetDown(l)
	})
}

// Veth makes a veth pair with one end, of a random name that is returned, in the
// test's namespace and the other, eth0, in ns; both are up. It goes with ns.
func Veth(t testing.TB, ns string) (host string) {
	t.Helper()
	f, err := os.Open(netns.Path(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	host = RandomName("tw")
	veth := &netlink.Veth{PeerName: "eth0", PeerNamespace: netlink.NsFd(f.Fd())}
	veth.Name = host
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) }) // gone already where ns is
	if err := netlink.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	SetUp(t, ns, "eth0", true)
	return host
}

// Eventually fails the test where ok does not hold within the time that anything
// on a busy machine may take. It polls every millisecond.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}
