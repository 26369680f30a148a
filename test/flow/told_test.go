package flow

import (
	"net/netip"
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/nettest"
	"tapwatch/internal/pairing"
	"tapwatch/internal/proctest"
	"tapwatch/internal/registry"
)

// Our own proxy and relay tell what belongs together: every connection is joined,
// and each request that the proxy sends by another connection than the last.
func TestToldJoins(t *testing.T) {
	l := toldLine(t)
	for _, load := range flowtest.Loads() {
		for _, http := range []bool{false, true} {
			name := load.String()
			if http {
				name += "-http"
			}
			t.Run(name, func(t *testing.T) {
				before := read(t, l.flow)
				conns := l.dial(t, load.Conns, http)
				load.Run(t, conns)
				after := read(t, l.flow)
				for _, c := range conns {
					if first, last := l.chain(t, c); first.How != "told" || last.How != "told" || last.Back.Local != c.Peer {
						t.Errorf("%s is said to be carried by %s and %s, and was by %s (joined by %q and %q)",
							c.Client, first.Back.Local, last.Back.Local, c.Peer, first.How, last.How)
					}
				}
				asked := uint64(load.Conns * load.Requests)
				for _, hop := range []path.Hop{path.Proxy, path.Relay} { // the others leave out what is sent again
					if n := after.Hops[hop].Count - before.Hops[hop].Count; n != asked {
						t.Errorf("%d requests are measured at %s, and %d were made", n, hop, asked)
					}
				}
				for _, c := range conns {
					c.Close()
				}
			})
		}
	}
}

// toldLine is a path of our own two programs, which have been given the table.
func toldLine(t *testing.T) *line {
	t.Helper()
	h := flowtest.NewHost(t)
	s := h.Slot(t)
	l := &line{host: h, slot: s, flow: watch(t, h, s)}
	dir := t.TempDir()
	table, err := pairing.Listen(dir, l.flow.Told().FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	go table.Run()
	record(t, dir, s)
	bin := proctest.Build(t, "tapwatch/cmd/tapwatch")
	flowtest.Serve(t, s.Guest, flowtest.Envd)
	l.relay = flowtest.Relay(bin, "--run-dir", dir).Start(t, s.Netns, s.Vpeer, flowtest.Envd)
	l.proxy = flowtest.Program("tapwatch-proxy", bin, func(listen, _ netip.AddrPort) []string {
		return []string{"proxy", "--listen", listen.String(), "--run-dir", dir}
	}).Start(t, h.Netns, h.Front, s.Vpeer)
	nettest.Eventually(t, "both have the table", func() bool {
		c := l.dial(t, 1, false)[0]
		defer c.Close()
		plain(t, l, c)
		first, last := l.chain(t, c)
		return first.How == "told" && last.How == "told"
	})
	return l
}

// record says to the proxy, as a launcher does, that a sandbox is in the slot.
func record(t *testing.T, dir string, s *flowtest.Slot) {
	t.Helper()
	err := registry.Dir(dir).Put(registry.Slot{
		Index: 1, Netns: s.Netns, Cookie: s.Cookie, Tap: "tap0", VpeerIP: s.Vpeer.Addr().String(), GuestIP: flowtest.Envd.Addr().String(),
		Sandbox: &registry.Sandbox{ID: "itold", State: registry.Running, Shape: registry.Relay, CreatedAt: time.Now()},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (l *line) dial(t *testing.T, n int, http bool) []*flowtest.Conn {
	t.Helper()
	if http {
		return flowtest.DialHTTP(t, l.host.Netns, l.host.Front, n)
	}
	return flowtest.Dial(t, l.host.Netns, l.host.Front, n)
}

// chain is the pairs of proxy and relay that carry a client's connection.
func (l *line) chain(t *testing.T, c *flowtest.Conn) (first, last flow.Pair) {
	t.Helper()
	first = pairsOf(t, l.flow, path.Proxy)[c.Client]
	return first, pairsOf(t, l.flow, path.Relay)[first.Back.Local]
}
