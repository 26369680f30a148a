package flowtest

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/proctest"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// Every proxy carries every load, on either layer, and the client learns by whom.
func TestProxiesTellTheTruth(t *testing.T) {
	bin := proctest.Build(t, "tapwatch/cmd/tapwatch")
	for _, p := range append(Proxies(), Relay(bin)) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			h := NewHost(t)
			s := h.Slot(t)
			Serve(t, s.Guest, Envd)
			p.Start(t, s.Netns, s.Vpeer, Envd)
			p.Start(t, h.Netns, h.Front, s.Vpeer)
			for _, load := range []Load{{50, 10, true}, {200, 1, false}} {
				conns := Dial(t, h.Netns, h.Front, load.Conns)
				load.Run(t, conns)
				seen := map[string]bool{}
				for _, c := range conns {
					if c.Peer.Addr() != e2b.TapIP() || c.Server != Envd {
						t.Errorf("%s was carried by %s to %s", c.Client, c.Peer, c.Server)
					}
					seen[c.Peer.String()] = true
				}
				if len(seen) != load.Conns {
					t.Errorf("%d connections of %d clients", len(seen), load.Conns)
				}
			}
		})
	}
}

// A proxy that pools carries requests of one connection by any other.
func TestHTTPProxies(t *testing.T) {
	for _, p := range PoolingProxies() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			h := NewHost(t)
			s := h.Slot(t)
			Serve(t, s.Netns, s.Vpeer)
			p.Start(t, h.Netns, h.Front, s.Vpeer)
			conns := DialPooling(t, h.Netns, h.Front, p, 20)
			seen := map[netip.AddrPort]bool{}
			for range 2 {
				Load{Conns: 20, Requests: 5, Random: true}.Run(t, conns)
				for _, c := range conns {
					seen[c.Peer] = true
				}
			}
			if len(seen) > 30 {
				t.Errorf("%d connections for 20: none is used again", len(seen))
			}
		})
	}
}

func proxy(t *testing.T, name string) Proxy {
	t.Helper()
	all := Proxies()
	i := slices.IndexFunc(all, func(p Proxy) bool { return p.Name == name })
	if i < 0 {
		t.Fatal(name)
	}
	return all[i]
}

// What a client does beside asking and waiting gets through every proxy too.
func TestExchanges(t *testing.T) {
	h := NewHost(t)
	s := h.Slot(t)
	Serve(t, s.Guest, Envd)
	proxy(t, "socat").Start(t, h.Netns, h.Front, s.Vpeer)
	proxy(t, "go-copy").Start(t, s.Netns, s.Vpeer, Envd)
	for _, e := range Exchanges() {
		t.Run(e.Name, func(t *testing.T) {
			if err := e.Run(Dial(t, h.Netns, h.Front, 1)[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

// Each kind of delay is where it is said to be.
func TestDelays(t *testing.T) {
	h := NewHost(t)
	s := h.Slot(t)
	Serve(t, s.Guest, Envd)
	relay := proxy(t, "go-readwrite").Start(t, s.Netns, s.Vpeer, Envd)
	slow := Slow("5ms").Start(t, h.Netns, h.Front, s.Vpeer)
	c := Dial(t, h.Netns, h.Front, 1)[0]

	a, err := c.Ask(Request{Delay: 5 * time.Millisecond})
	if err != nil || a.Slept < 5*time.Millisecond || a.Total < a.Slept+5*time.Millisecond {
		t.Errorf("server and proxy slept, and the client saw %+v, %v", a, err)
	}
	slow.WaitFor(t, 0, `^slept [5-9]\d{6}$`)

	for what, p := range map[string]*proctest.Process{"vmm": s.VMM, "relay": relay} {
		a, stopped, err := c.AskFrozen(t, Request{}, p, 20*time.Millisecond)
		if err != nil || stopped < 20*time.Millisecond || a.Total < stopped {
			t.Errorf("%s was stopped for %s, and the client saw %+v, %v", what, stopped, a, err)
		}
	}
}

// DNAT carries a connection without a relay: the server sees the proxy's own.
func TestDNAT(t *testing.T) {
	h := NewHost(t)
	s := h.Slot(t)
	s.DNAT(t)
	Serve(t, s.Guest, Envd)
	proxy(t, "go-copy").Start(t, h.Netns, h.Front, s.HostIP)
	c := Dial(t, h.Netns, h.Front, 1)[0]
	if _, err := c.Ask(Request{}); err != nil {
		t.Fatal(err)
	}
	if c.Peer.Addr() != s.veth || c.Server != Envd {
		t.Errorf("carried by %s to %s", c.Peer, c.Server)
	}
}

// Two slots have guests of one address, and do not meet.
func TestSlotsAreApart(t *testing.T) {
	h := NewHost(t)
	var seen []netip.AddrPort
	for range 2 {
		s := h.Slot(t)
		Serve(t, s.Guest, Envd)
		proxy(t, "go-copy").Start(t, s.Netns, s.Vpeer, Envd)
		c := Dial(t, h.Netns, s.Vpeer, 1)[0]
		if _, err := c.Ask(Request{}); err != nil {
			t.Error(err)
		}
		seen = append(seen, c.Peer)
	}
	if seen[0].Addr() != seen[1].Addr() {
		t.Errorf("%v: not the relays' side of the taps", seen)
	}
}
