package flow

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func load(t *testing.T, cfg Config) *Flow {
	t.Helper()
	nettest.NeedRoot(t)
	f, err := Load(cfg)
	if err != nil {
		var refused *ebpf.VerifierError
		if errors.As(err, &refused) {
			t.Logf("%+50v", refused)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

var (
	guestAddr = netip.MustParseAddr("169.254.0.21")
	tapAddr   = netip.MustParseAddr("169.254.0.22")
)

// world is a slot with a guest behind its tap, whose envd answers each line with
// it and the address that it came from.
type world struct {
	slot  string
	path  Path
	think time.Duration // of the daemon
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w, guest := newEmptyWorld(t)
	w.serve(t, guest)
	return w
}

// newEmptyWorld is one in whose guest nothing listens.
func newEmptyWorld(t *testing.T) (w *world, guest string) {
	t.Helper()
	nettest.NeedRoot(t)
	w = &world{slot: nettest.Netns(t)}
	nettest.Tap(t, w.slot, "tap0")
	host := nettest.Veth(t, w.slot)
	base := [4]byte{198, 18, byte(rand.N(256)), byte(rand.N(128) * 2)}
	peer := base
	peer[3]++
	addAddr(t, "", host, netip.AddrFrom4(base), 31)
	addAddr(t, w.slot, "eth0", netip.AddrFrom4(peer), 31)
	addAddr(t, w.slot, "tap0", tapAddr, 30)
	nettest.SetUp(t, w.slot, "lo", true)
	guest = nettest.Guest(t, w.slot, "tap0", "02:FC:00:00:00:05", guestAddr.AsSlice(), tapAddr.AsSlice())
	w.path = Path{Guest: guestAddr, Vpeer: netip.AddrFrom4(peer)}
	var err error
	if w.path.Netns, err = netns.CookieOf(w.slot); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, w.slot, func() error {
		l, err := netlink.LinkByName("tap0")
		if err == nil {
			w.path.Tap = uint32(l.Attrs().Index)
		}
		return err
	})
	return w, guest
}

func addAddr(t *testing.T, ns, link string, a netip.Addr, bits int) {
	t.Helper()
	add := func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}})
	}
	if ns == "" {
		if err := add(); err != nil {
			t.Fatal(err)
		}
		return
	}
	nettest.In(t, ns, add)
}

func listen(t *testing.T, ns string, at netip.AddrPort) net.Listener {
	t.Helper()
	var l net.Listener
	open := func() (err error) {
		l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		return err
	}
	if ns == "" {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	} else {
		nettest.In(t, ns, open)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (w *world) serve(t *testing.T, guest string) {
	accept(listen(t, guest, netip.AddrPortFrom(guestAddr, 49983)), func(c net.Conn) {
		r := bufio.NewReader(c)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			time.Sleep(w.think)
			if _, err := fmt.Fprintf(c, "%s %s", c.RemoteAddr(), line); err != nil {
				return
			}
		}
	})
}

func accept(l net.Listener, serve func(net.Conn)) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
}

// forward relays by read and write what comes to l.
func forward(l net.Listener, pause time.Duration, dial func() (net.Conn, error)) {
	accept(l, func(front net.Conn) {
		back, err := dial()
		if err != nil {
			return
		}
		defer back.Close()
		go func() { copyTo(front, back, 0); front.Close() }()
		copyTo(back, front, pause)
	})
}

func copyTo(to, from net.Conn, pause time.Duration) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		time.Sleep(pause)
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

func TestHopsOfARelayPath(t *testing.T) {
	w := newWorld(t)
	proxy := listen(t, "", netip.MustParseAddrPort("127.0.0.1:0"))
	port := proxy.Addr().(*net.TCPAddr).Port
	f := load(t, Config{ProxyPort: uint16(port)})
	if err := f.Add(w.path); err != nil {
		t.Fatal(err)
	}
	vpeer := netip.AddrPortFrom(w.path.Vpeer, 49983)
	forward(listen(t, w.slot, vpeer), 0, func() (net.Conn, error) {
		return netns.DialTCP(t.Context(), w.slot, netip.AddrPortFrom(guestAddr, 49983))
	})
	forward(proxy, 0, func() (net.Conn, error) { return net.Dial("tcp4", vpeer.String()) })
	c, err := net.Dial("tcp4", proxy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	var total time.Duration
	const requests = 20
	var seenBy string
	for i := range requests {
		begun := time.Now()
		if _, err := fmt.Fprintf(c, "hello %d\n", i); err != nil {
			t.Fatal(err)
		}
		line, err := r.ReadString('\n')
		total += time.Since(begun)
		if err != nil {
			t.Fatal(err)
		}
		seenBy = strings.Fields(line)[0]
	}
	s, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for _, hop := range Hops {
		h := s.Hops[hop]
		sum += h.Sum
		if h.Count != requests {
			t.Errorf("%s has %d requests of %d", hop, h.Count, requests)
		}
	}
	if sum == 0 || sum > total {
		t.Errorf("the hops took %s, and the client waited %s", sum, total)
	}
	for _, u := range s.Unjoined {
		if u.Count > 0 {
			t.Errorf("%+v", u)
		}
	}
	if len(s.Failed) > 0 || s.Negative+s.Unsplit > 0 {
		t.Errorf("%+v, %d negative, %d unsplit", s.Failed, s.Negative, s.Unsplit)
	}
	pairs, err := f.Pairs()
	if err != nil || len(pairs) != 2 {
		t.Fatal(pairs, err)
	}
	for _, p := range pairs {
		if p.Netns != w.path.Netns || p.How != "buffer" || p.Requests != requests || !p.Sure {
			t.Errorf("%+v", p)
		}
		switch p.Hop {
		case path.Proxy:
			if p.Front.Remote.String() != c.LocalAddr().String() || p.Back.Remote != vpeer {
				t.Errorf("%+v", p)
			}
		case path.Relay:
			if p.Front.Local != vpeer || p.Back.Local.String() != seenBy {
				t.Errorf("%+v, and the daemon saw %s", p, seenBy)
			}
		default:
			t.Errorf("%+v", p)
		}
	}
}
