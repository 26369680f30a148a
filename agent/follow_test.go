package agent

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// clients ask for the health of the sandbox all the time, each over a connection of its
// own.
func (l *line) clients() {
	stop := make(chan struct{})
	done := make(chan struct{})
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	one := func() {
		req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "http://"+l.front.String()+"/health", nil)
		if err != nil {
			return
		}
		req.Header.Set(e2b.HeaderSandboxID, "itest")
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
		}
	}
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(200 * time.Millisecond):
				go one()
			}
		}
	}()
	l.t.Cleanup(func() { close(stop); <-done; client.CloseIdleConnections() })
}

// untilSaid is until, which prints what was found where that does not come.
func (l *line) untilSaid(what string, ok func(path.Slot) bool) (last path.Slot) {
	l.t.Helper()
	l.t.Cleanup(func() {
		if l.t.Failed() && !ok(last) {
			l.t.Logf("%s: last %s", what, words(last))
		}
	})
	return l.until(what, func(s path.Slot) bool { last = s; return ok(s) })
}

func everywhere(s path.Slot) bool { return s.Diagnosis.State == path.OK }

func words(s path.Slot) string {
	var all []string
	for _, f := range s.Diagnosis.Findings {
		all = append(all, f.Code+" at "+string(f.Hop)+" ("+string(f.Severity)+"): "+f.Cause+"\n  "+strings.Join(f.Evidence, "\n  "))
	}
	return string(s.Diagnosis.State) + "\n" + strings.Join(all, "\n")
}

// Whatever drops the path's packets: while every request fails the path is broken, at
// the first place that the packets do not come to.
func TestFailingRequestsAreNeverOK(t *testing.T) {
	l := startLine(t, Config{Every: 50 * time.Millisecond})
	l.clients()
	l.until("requests are answered", func(s path.Slot) bool { return s.Requests != nil && s.Requests.Relay.Ended > 2 && everywhere(s) })
	ns, far := l.slot.Netns, l.slot.VpeerIP
	drop := func(do func(args ...string), args ...string) (fault, undo func()) {
		return func() { do(append([]string{"-A"}, args...)...) }, func() { do(append([]string{"-D"}, args...)...) }
	}
	here := func(args ...string) { nettest.IptablesNFT(t, netns.Own, args...) }
	there := func(args ...string) { nettest.IptablesNFT(t, ns, args...) }
	var undrop func()
	type fault struct {
		name    string
		hop     path.Hop
		do, off func()
	}
	one := func(name string, hop path.Hop, do, off func()) fault { return fault{name, hop, do, off} }
	dropped := func(name string, hop path.Hop, do func(...string), args ...string) fault {
		on, off := drop(do, args...)
		return fault{name, hop, on, off}
	}
	for _, c := range []fault{
		dropped("the host drops what the proxy sends", path.Relay, here, "OUTPUT", "-d", far, "-p", "tcp", "--dport", "49983", "-j", "DROP"),
		dropped("the host drops what the relay answers", path.Relay, here, "INPUT", "-s", far, "-p", "tcp", "--sport", "49983", "-j", "DROP"),
		dropped("what the guest answers is dropped before routing", path.Relay, there, "PREROUTING", "-t", "raw", "-i", "tap0", "-p", "tcp", "-j", "DROP"),
		dropped("large packets to the guest are dropped", path.Tap, there, "OUTPUT", "-o", "tap0", "-p", "tcp", "-m", "length", "--length", "80:2000", "-j", "DROP"),
		one("the guest answers no ARP", path.Guest, func() { arp(t, l, netlink.LinkSetARPOff) }, func() { arp(t, l, netlink.LinkSetARPOn) }),
		one("no way to the guest", path.Tap, func() { blackhole(t, ns, netlink.RuleAdd) }, func() { blackhole(t, ns, netlink.RuleDel) }),
		one("the host has no way to the slot", path.Relay, func() { hostBlackhole(t, far, netlink.RouteAdd) }, func() { hostBlackhole(t, far, netlink.RouteDel) }),
		one("another's program drops what goes out by the tap", path.Tap, func() { undrop = dropAtTap(t, ns) }, func() { undrop() }),
	} {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			c.do()
			undone := false
			defer func() {
				if !undone {
					c.off()
				}
			}()
			s := l.untilSaid("broken at the "+string(c.hop), func(s path.Slot) bool { return s.Diagnosis.BrokenAt() == c.hop })
			t.Logf("after %s: %s", time.Since(began).Round(time.Millisecond), words(s))
			c.off()
			undone = true
			l.until("well again", everywhere)
		})
	}
}

// arp switches the guest's ARP on or off, and has the slot forget its address.
func arp(t *testing.T, l *line, set func(netlink.Link) error) {
	t.Helper()
	on := func(ns, name string, do func(netlink.Link) error) {
		t.Helper()
		nettest.In(t, ns, func() error {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return do(link)
		})
	}
	on(l.guest, "eth0", set)
	on(l.slot.Netns, "tap0", func(tap netlink.Link) error {
		return netlink.NeighDel(&netlink.Neigh{LinkIndex: tap.Attrs().Index, IP: netip.MustParseAddr("169.254.0.21").AsSlice()})
	})
}

func hostBlackhole(t *testing.T, to string, do func(*netlink.Route) error) {
	t.Helper()
	if err := do(&netlink.Route{Type: unix.RTN_BLACKHOLE, Dst: netlink.NewIPNet(netip.MustParseAddr(to).AsSlice())}); err != nil {
		t.Fatal(err)
	}
}

func blackhole(t *testing.T, ns string, do func(*netlink.Rule) error) {
	t.Helper()
	nettest.In(t, ns, func() error {
		r := netlink.NewRule()
		r.Priority, r.Type = 10, unix.FR_ACT_BLACKHOLE
		r.Dst = netlink.NewIPNet(netip.MustParseAddr("169.254.0.21").AsSlice())
		return do(r)
	})
}

// dropAtTap has another's program drop what leaves by the tap, until undone.
func dropAtTap(t *testing.T, ns string) (undo func()) {
	t.Helper()
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	filter := &netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{Parent: netlink.HANDLE_MIN_EGRESS, Handle: 7, Priority: 7, Protocol: unix.ETH_P_ALL},
		Fd: saying(t, int32(netlink.TC_ACT_SHOT)).FD(), Name: "foreign", DirectAction: true}
	made := false
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		clsact.LinkIndex, filter.LinkIndex = l.Attrs().Index, l.Attrs().Index
		if err := netlink.QdiscAdd(clsact); err == nil {
			made = true
		} else if !errors.Is(err, unix.EEXIST) {
			return err
		}
		return netlink.FilterAdd(filter)
	})
	return func() {
		nettest.In(t, ns, func() error {
			if made {
				return netlink.QdiscDel(clsact)
			}
			return netlink.FilterDel(filter)
		})
	}
}

// While requests are answered nothing that is inferred breaks the path.
func TestAnsweredRequestsAreNeverBroken(t *testing.T) {
	l := startLine(t, Config{Every: 50 * time.Millisecond})
	l.clients()
	l.until("requests are answered", func(s path.Slot) bool { return s.Requests != nil && s.Requests.Relay.Ended > 2 })
	// The tap's address is on another device, and the route with it.
	nettest.In(t, l.slot.Netns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		tap, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("169.254.0.22/32")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(lo, addr); err != nil {
			return err
		}
		if addr, err = netlink.ParseAddr("169.254.0.22/30"); err != nil {
			return err
		}
		if err := netlink.AddrDel(tap, addr); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: tap.Attrs().Index, Scope: netlink.SCOPE_LINK, Dst: netlink.NewIPNet(netip.MustParseAddr("169.254.0.21").AsSlice())})
	})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		s := l.until("seen", func(path.Slot) bool { return true })
		if s.Diagnosis.State == path.Broken {
			t.Fatal(words(s))
		}
	}
}
