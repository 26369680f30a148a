package relay

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// Addresses as a slot has them.
var (
	veth  = netip.MustParseAddr("10.12.0.4")
	vpeer = netip.MustParseAddr("10.12.0.5")
	tap   = netip.MustParseAddr("169.254.0.22")
	guest = netip.MustParseAddr("169.254.0.21")
	envd  = netip.AddrPortFrom(guest, 49983)
)

// world is a path of two veth pairs: a host, a slot, and a guest, each a
// namespace. The slot forwards, for the direct connection.
type world struct {
	host, slot, guest string
	ports             uint16 // given to contenders so far
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{host: nettest.Netns(t), slot: nettest.Netns(t), guest: nettest.Netns(t), ports: 20000}
	for _, ns := range []string{w.host, w.slot, w.guest} {
		nettest.SetUp(t, ns, "lo", true)
		nettest.In(t, ns, func() error {
			for file, value := range map[string]string{
				"ip_forward": "1", "tcp_tw_reuse": "1", "ip_local_port_range": "30000 65000",
			} {
				if err := os.WriteFile("/proc/sys/net/ipv4/"+file, []byte(value), 0o644); err != nil {
					return err
				}
			}
			return nil
		})
	}
	pair(t, w.host, w.slot, netip.PrefixFrom(veth, 31), netip.PrefixFrom(vpeer, 31))
	pair(t, w.slot, w.guest, netip.PrefixFrom(tap, 30), netip.PrefixFrom(guest, 30))
	route(t, w.host, netip.PrefixFrom(tap, 30).Masked(), vpeer)
	route(t, w.guest, netip.PrefixFrom(veth, 31).Masked(), tap)
	return w
}

// pair joins two namespaces by a veth pair.
func pair(t testing.TB, a, b string, at, bt netip.Prefix) {
	t.Helper()
	f, err := os.Open(netns.Path(b))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	names := [2]string{nettest.RandomName("tw"), nettest.RandomName("tw")}
	nettest.In(t, a, func() error {
		v := &netlink.Veth{PeerName: names[1], PeerNamespace: netlink.NsFd(f.Fd())}
		v.Name = names[0]
		return netlink.LinkAdd(v)
	})
	for i, end := range []struct {
		ns   string
		addr netip.Prefix
	}{{a, at}, {b, bt}} {
		nettest.In(t, end.ns, func() error {
			l, err := netlink.LinkByName(names[i])
			if err != nil {
				return err
			}
			addr := &net.IPNet{IP: end.addr.Addr().AsSlice(), Mask: net.CIDRMask(end.addr.Bits(), 32)}
			if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: addr}); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
	}
}

func route(t testing.TB, ns string, to netip.Prefix, via netip.Addr) {
	t.Helper()
	nettest.In(t, ns, func() error {
		return netlink.RouteAdd(&netlink.Route{
			Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: via.AsSlice(),
		})
	})
}

// listen is a fresh address in the slot for a contender.
func (w *world) listen() netip.AddrPort {
	w.ports++
	return netip.AddrPortFrom(vpeer, w.ports)
}

// start runs a command inside a namespace, on one CPU only or (below 0) on all,
// until the test ends.
func start(t testing.TB, ns string, cpu int, name string, args ...string) *proctest.Process {
	t.Helper()
	if cpu >= 0 {
		name, args = "taskset", append([]string{"-c", strconv.Itoa(cpu), name}, args...)
	}
	var p *proctest.Process
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // if the test is killed
	nettest.In(t, ns, func() error { p = proctest.StartCmd(t, cmd); return nil })
	return p
}

// self runs a role of this binary.
func self(t testing.TB, ns string, cpu int, args ...string) *proctest.Process {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return start(t, ns, cpu, me, args...)
}

// serveEnvd runs the server in the guest.
func (w *world) serveEnvd(t testing.TB, cpu int) *proctest.Process {
	t.Helper()
	p := self(t, w.guest, cpu, "serve", envd.String())
	p.WaitFor(t, 0, "serves")
	return p
}
