package notices

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/nlsafe"
)

// Whatever changes in a namespace that has an nsid is told, with that nsid, and
// nothing else of it need be asked.
func TestChangesAreTold(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	id := nsid(t, ns)
	w := opened(t)
	ctx, cancel := context.WithCancel(context.Background())
	heard, done := make(chan netns.NSID, 1024), make(chan error, 1)
	go func() { done <- w.Run(ctx, func(n Notice) { heard <- n.In }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	changes := []struct {
		name   string
		change func() error
	}{
		{"ip_forward", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }},
		{"ip_forward back", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0) }},
		{"rp_filter", func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/tap0/rp_filter", []byte("1"), 0) }},
		{"rule", dropAll},
		{"address", func() error { return address(netlink.AddrAdd) }},
		{"rule of routing", rule(netlink.FAMILY_V4)},
		{"rule of routing, IPv6", rule(netlink.FAMILY_V6)},
		{"permanent neighbour", func() error { return neighbour(netlink.NUD_PERMANENT) }},
		{"qdisc", addQdisc},
		{"address away", func() error { return address(netlink.AddrDel) }},
	}
	for _, c := range changes {
		for len(heard) > 0 { // of the change before
			<-heard
		}
		nettest.In(t, ns, c.change)
		for end := time.After(30 * time.Second); ; {
			select {
			case got := <-heard:
				if got != id { // another test's
					continue
				}
			case <-end:
				t.Errorf("%s was not told", c.name)
			}
			break
		}
		time.Sleep(20 * time.Millisecond) // one change may be several messages
	}
	if s := w.Stats(); s.Heard < uint64(len(changes)) {
		t.Errorf("heard %d", s.Heard)
	}
}

// opened is a watcher in the test's namespace.
func opened(t *testing.T) *Watcher {
	t.Helper()
	w, err := Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// What changes all the time and says nothing is kept back by the kernel.
func TestOrdinaryChangesAreKeptBack(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	id := nsid(t, ns)
	w := opened(t)
	nettest.In(t, ns, func() error {
		if err := neighbour(netlink.NUD_STALE); err != nil {
			return err
		}
		return address(netlink.AddrAdd) // in the end, so that it is known what came before
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var first []byte
	w.route.Hear(ctx, func(d nlsafe.Datagram, _ error) {
		if d.NSID == int32(id) && first == nil {
			first = bytes.Clone(d.Bytes)
			cancel()
		}
	})
	m, _, err := nlsafe.Next(first)
	if err != nil || m.Type == unix.RTM_NEWNEIGH {
		t.Errorf("the first that came is of type %d, %v", m.Type, err)
	}
}

// A change in our own namespace says what it is about: it is on the path of all.
func TestOwnChanges(t *testing.T) {
	nettest.NeedRoot(t)
	host := nettest.Netns(t)
	nettest.Tap(t, host, "tap0")
	var w *Watcher
	nettest.In(t, host, func() (err error) {
		w, err = Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
		return err
	})
	t.Cleanup(w.Close)
	ctx, cancel := context.WithCancel(context.Background())
	heard, done := make(chan Notice, 1024), make(chan error, 1)
	go func() { done <- w.Run(ctx, func(n Notice) { heard <- n }) }()
	t.Cleanup(func() { cancel(); <-done })
	var tap netns.Ifindex
	nettest.In(t, host, func() error {
		l, err := netlink.LinkByName("tap0")
		tap = netns.Ifindex(l.Attrs().Index)
		return err
	})
	for _, c := range []struct {
		name string
		do   func() error
		want Notice
	}{
		{"rule", rule(netlink.FAMILY_V4), Notice{In: netns.NoNSID}},
		{"route", blackhole, Notice{In: netns.NoNSID, To: netip.MustParsePrefix("10.12.0.3/32")}},
		{"address", func() error { return address(netlink.AddrAdd) }, Notice{In: netns.NoNSID, Link: tap}},
		{"neighbour", func() error { return neighbour(netlink.NUD_PERMANENT) }, Notice{In: netns.NoNSID, Link: tap}},
		{"qdisc", addQdisc, Notice{In: netns.NoNSID, Link: tap}},
		{"rp_filter", func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/tap0/rp_filter", []byte("1"), 0) }, Notice{In: netns.NoNSID, Link: tap}},
	} {
		nettest.In(t, host, c.do)
		for end := time.After(10 * time.Second); ; {
			select {
			case got := <-heard:
				if got != c.want {
					continue
				}
			case <-end:
				t.Errorf("%s: no %+v", c.name, c.want)
			}
			break
		}
	}
}

func blackhole() error {
	return netlink.RouteAdd(&netlink.Route{Type: unix.RTN_BLACKHOLE, Dst: &net.IPNet{IP: net.IPv4(10, 12, 0, 3), Mask: net.CIDRMask(32, 32)}})
}

func rule(family int) func() error {
	return func() error {
		r := netlink.NewRule()
		r.Family, r.Table, r.Priority = family, 77, 50
		return netlink.RuleAdd(r)
	}
}

func neighbour(state int) error {
	l, err := netlink.LinkByName("tap0")
	if err != nil {
		return err
	}
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: state, IP: net.IPv4(169, 254, 0, 21), HardwareAddr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 0x77}})
}

func addQdisc() error {
	l, err := netlink.LinkByName("tap0")
	if err != nil {
		return err
	}
	return netlink.QdiscAdd(&netlink.Tbf{Rate: 1000, Buffer: netlink.Xmittime(1000, 1600), Limit: 3000,
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}})
}

func nsid(t *testing.T, ns string) netns.NSID {
	t.Helper()
	conn, err := nlsafe.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f, err := os.Open(netns.Path(ns))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	id, err := netns.AssignNSID(conn, f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func dropAll() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "t"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	return c.Flush()
}

func address(do func(netlink.Link, *netlink.Addr) error) error {
	l, err := netlink.LinkByName("tap0")
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr("169.254.0.22/30")
	if err != nil {
		return err
	}
	return do(l, a)
}

// Rules of the namespace that the watcher is in are told of too, without an nsid.
func TestOwnRulesAreTold(t *testing.T) {
	nettest.NeedRoot(t)
	w := opened(t)
	heard := make(chan struct{}, 1024)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- w.Run(ctx, func(n Notice) {
			if n.In == netns.NoNSID && n.Filter {
				heard <- struct{}{}
			}
		})
	}()
	t.Cleanup(func() { cancel(); <-done })
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: nettest.RandomName("t")})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.DelTable(table); _ = c.Flush() })
	select {
	case <-heard:
	case <-time.After(30 * time.Second):
		t.Fatal("a table was made, and nothing was heard")
	}
}
