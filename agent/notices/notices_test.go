package notices

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

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
	w, err := Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	ctx, cancel := context.WithCancel(context.Background())
	heard, done := make(chan netns.NSID, 1024), make(chan error, 1)
	go func() { done <- w.Run(ctx, func(id netns.NSID, _ bool) { heard <- id }) }()
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
	w, err := Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	heard := make(chan struct{}, 1024)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- w.Run(ctx, func(id netns.NSID, _ bool) {
			if id == netns.NoNSID {
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
