package flowtest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// Envd is where the server listens in its guest.
var Envd = netip.AddrPortFrom(e2b.GuestIP(), e2b.EnvdPort)

// Host is a namespace that plays the host of some slots.
type Host struct {
	Netns string
	// Front is where the proxy listens. Its port is the host's own, by chance, as are
	// its slots' addresses: whoever watches a machine sees all tests on it at once.
	Front netip.AddrPort
}

// NewHost makes a host without slots. It goes with the test.
func NewHost(t testing.TB) *Host {
	t.Helper()
	h := &Host{
		Netns: nettest.Netns(t),
		Front: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 10_000+rand.N(uint16(20_000))), // below the ephemeral ones
	}
	nettest.SetUp(t, h.Netns, "lo", true)
	return h
}

// Slot is a namespace with its veth pair, its tap, and a guest on it.
type Slot struct {
	Netns  string
	Cookie netns.Cookie
	Guest  string            // the namespace that is the guest
	VMM    *proctest.Process // carries the guest's frames
	Vpeer  netip.AddrPort    // where a relay is to listen
	HostIP netip.AddrPort    // what the host knows the sandbox by, where DNAT leads to the guest
	veth   netip.Addr        // the host's end
	host   *Host
}

// Tap is the ifindex of tap0 in the slot's namespace.
func (s *Slot) Tap(t testing.TB) uint32 {
	t.Helper()
	var index int
	nettest.In(t, s.Netns, func() error {
		l, err := netlink.LinkByName(e2b.Tap)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	return uint32(index)
}

// Slot makes a slot whose guest runs; nothing listens in either yet.
func (h *Host) Slot(t testing.TB) *Slot {
	t.Helper()
	index := 1 + rand.N(uint16(1<<15-1))
	at := func(net byte, n uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, net, byte(n >> 8), byte(n)}), e2b.EnvdPort)
	}
	s := &Slot{
		Netns: nettest.Netns(t), HostIP: at(11, index), Vpeer: at(12, 2*index+1), veth: at(12, 2*index).Addr(), host: h,
	}
	var err error
	if s.Cookie, err = netns.CookieOf(s.Netns); err != nil {
		t.Fatal(err)
	}
	s.wire(t)
	guest, inside, outside := nettest.GuestTaps(t, s.Netns, e2b.Tap, e2b.GuestMAC, Envd.Addr().AsSlice(), e2b.TapIP().AsSlice())
	s.Guest = guest
	cmd := part(t, "vmm")
	cmd.ExtraFiles = []*os.File{inside, outside}
	s.VMM = proctest.StartCmd(t, cmd)
	inside.Close() // the VMM's alone: they go when it goes
	outside.Close()
	return s
}

// wire makes the veth pair and the tap, with their addresses and routes.
func (s *Slot) wire(t testing.TB) {
	t.Helper()
	ns, err := os.Open(netns.Path(s.Netns))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	host := nettest.RandomName("tw")
	nettest.In(t, s.host.Netns, func() error {
		veth := &netlink.Veth{PeerName: e2b.Vpeer, PeerNamespace: netlink.NsFd(ns.Fd())}
		veth.Name = host
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		if err := raise(host, s.veth, 31, ""); err != nil {
			return err
		}
		return routeVia(host, &net.IPNet{IP: s.HostIP.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}, s.Vpeer.Addr())
	})
	nettest.Tap(t, s.Netns, e2b.Tap)
	nettest.In(t, s.Netns, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return err
		}
		if err := raise("lo", netip.Addr{}, 0, ""); err != nil {
			return err
		}
		if err := raise(e2b.Tap, e2b.TapIP(), 30, e2b.TapMAC); err != nil {
			return err
		}
		if err := raise(e2b.Vpeer, s.Vpeer.Addr(), 31, ""); err != nil {
			return err
		}
		return routeVia(e2b.Vpeer, nil, s.veth)
	})
}

// raise gives a link of this thread's namespace its address and MAC, if any, and
// sets it up.
func raise(name string, addr netip.Addr, bits int, mac string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if mac != "" {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(l, hw); err != nil {
			return err
		}
	}
	if addr.IsValid() {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, 32)}}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

func routeVia(link string, to *net.IPNet, gateway netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: to, Gw: gateway.AsSlice()})
}
