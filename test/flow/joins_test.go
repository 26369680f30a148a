package flow

import (
	"net/netip"
	"testing"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/flowtest"
)

// enough is how many connections of a hundred must be joined.
const enough = 98

// Every proxy on either layer, under every load: nothing said of its connections
// is wrong, and hardly one is left out.
func TestJoins(t *testing.T) {
	for _, p := range flowtest.Proxies() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			h := flowtest.NewHost(t)
			first, second := h.Slot(t), h.Slot(t)
			f := watch(t, h, first, second)
			flowtest.Serve(t, first.Netns, first.Vpeer) // there is no relay
			p.Start(t, h.Netns, h.Front, first.Vpeer)
			flowtest.Serve(t, second.Guest, flowtest.Envd)
			p.Start(t, second.Netns, second.Vpeer, flowtest.Envd)
			for _, load := range flowtest.Loads() {
				t.Run("proxy/"+load.String(), func(t *testing.T) { holdToTruth(t, f, path.Proxy, p, h, h.Front, load) })
				t.Run("relay/"+load.String(), func(t *testing.T) { holdToTruth(t, f, path.Relay, p, h, second.Vpeer, load) })
			}
		})
	}
}

func holdToTruth(t *testing.T, f *flow.Flow, hop path.Hop, p flowtest.Proxy, h *flowtest.Host, to netip.AddrPort, load flowtest.Load) {
	before := read(t, f)
	conns := flowtest.Dial(t, h.Netns, to, load.Conns)
	load.Run(t, conns)
	j := judge(t, f, hop, conns)
	if told, asked := requestsAt(read(t, f), hop)-requestsAt(before, hop), uint64(load.Conns*load.Requests); told != asked {
		t.Errorf("%d requests are counted, joined or not, and %d were made", told, asked)
	}
	t.Logf("%s: %d of %d connections joined, %d wrong", t.Name(), j.right, len(conns), j.wrong)
	if !p.Adversarial && j.right*100 < len(conns)*enough {
		t.Errorf("%d of %d connections are joined", j.right, len(conns))
	}
	for _, c := range conns {
		c.Close()
	}
}

// requestsAt is how many were counted at a hop, joined or not.
func requestsAt(s flow.Stats, hop path.Hop) (n uint64) {
	for _, j := range s.Joined {
		if j.Hop == hop {
			n += j.Count
		}
	}
	for _, u := range s.Unjoined {
		if u.Hop == hop {
			n += u.Count
		}
	}
	return n
}

type judgement struct {
	right, wrong int
	pairs        map[netip.AddrPort]flow.Pair // by the client
}

// judge compares what is said of the connections, while they are open, with what
// their server saw.
func judge(t testing.TB, f *flow.Flow, hop path.Hop, conns []*flowtest.Conn) judgement {
	t.Helper()
	j := judgement{pairs: pairsOf(t, f, hop)}
	for _, c := range conns {
		switch p, ok := j.pairs[c.Client]; {
		case !ok:
		case p.Front.Local == c.Front && p.Back.Local == c.Peer && (p.Back.Remote == c.Server || translated(p.Back.Remote)):
			j.right++
		default:
			j.wrong++
			t.Errorf("%s to %s: said to be carried by %s to %s, and was by %s to %s (joined by %s, %d requests, sure %v)",
				c.Client, c.Front, p.Back.Local, p.Back.Remote, c.Peer, c.Server, p.How, p.Requests, p.Sure)
		}
	}
	return j
}

// pairsOf is the pairs of a hop by who called there.
func pairsOf(t testing.TB, f *flow.Flow, hop path.Hop) map[netip.AddrPort]flow.Pair {
	t.Helper()
	all, err := f.Pairs()
	if err != nil {
		t.Fatal(err)
	}
	of := map[netip.AddrPort]flow.Pair{}
	for _, p := range all {
		if p.Hop == hop {
			of[p.Front.Remote] = p
		}
	}
	return of
}

// A proxy that pools sends each request by any connection that is free. Of such nothing may be said, or what is true of the last request.
func TestPooledConnections(t *testing.T) {
	for _, p := range flowtest.PoolingProxies() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			h := flowtest.NewHost(t)
			s := h.Slot(t)
			f := watch(t, h, s)
			flowtest.Serve(t, s.Netns, s.Vpeer)
			p.Start(t, h.Netns, h.Front, s.Vpeer)
			conns := flowtest.DialPooling(t, h.Netns, h.Front, p, 20)
			for _, random := range []bool{false, true, false} {
				flowtest.Load{Requests: 10, Random: random}.Run(t, conns)
				for range 10 { // each takes what connection the last gave back
					for _, c := range conns {
						if _, err := c.Ask(flowtest.Request{}); err != nil {
							t.Fatal(err)
						}
					}
				}
				j := judge(t, f, path.Proxy, conns)
				t.Logf("%s: %d of %d connections joined, %d wrong", t.Name(), j.right, len(conns), j.wrong)
			}
		})
	}
}

// In a dnat path the back socket is the one that the server sees, by another
// address of its own.
func translated(a netip.AddrPort) bool { return hostIPs.Contains(a.Addr()) }

var hostIPs = netip.MustParsePrefix("10.11.0.0/16")

// In a dnat path the kernel of the namespace passes on, and nobody needs to tell:
// the sequence numbers do.
func TestDNATJoins(t *testing.T) {
	for _, name := range []string{"go-copy", "haproxy", "nginx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := dnatLine(t, proxy(t, name))
			for _, load := range []flowtest.Load{{Conns: 50, Requests: 10, Random: true}, {Conns: 200, Requests: 1}} {
				before := read(t, l.flow)
				conns := flowtest.Dial(t, l.host.Netns, l.host.Front, load.Conns)
				load.Run(t, conns)
				if j := judge(t, l.flow, path.Proxy, conns); j.right*100 < len(conns)*enough {
					t.Errorf("%d of %d connections are joined", j.right, len(conns))
				}
				joined := bySequence(read(t, l.flow)) - bySequence(before)
				if asked := uint64(load.Conns * load.Requests); joined > asked || joined*100 < asked*enough {
					t.Errorf("%d of %d requests are joined at the relay", joined, asked)
				}
			}
		})
	}
}

func bySequence(s flow.Stats) uint64 {
	for _, j := range s.Joined {
		if j.Hop == path.Relay && j.How == "sequence" {
			return j.Count
		}
	}
	return 0
}

// Connections that are older than the agent are found at its start.
func TestOlderConnections(t *testing.T) {
	for _, name := range []string{"socat", "haproxy", "haproxy-splice", "nginx", "go-copy"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := flowtest.NewHost(t)
			s := h.Slot(t)
			flowtest.Serve(t, s.Guest, flowtest.Envd)
			proxy(t, name).Start(t, s.Netns, s.Vpeer, flowtest.Envd)
			proxy(t, name).Start(t, h.Netns, h.Front, s.Vpeer)
			conns := flowtest.Dial(t, h.Netns, h.Front, 20)
			load := flowtest.Load{Requests: 3, Random: true}
			load.Run(t, conns)
			f := watch(t, h, s)
			load.Run(t, conns)
			proxy, relay := pairsOf(t, f, path.Proxy), pairsOf(t, f, path.Relay)
			for _, c := range conns {
				if last := relay[proxy[c.Client].Back.Local]; last.Back.Local != c.Peer {
					t.Errorf("%s is said to be carried by %s and %s, and was by %s", c.Client, proxy[c.Client].Back.Local, last.Back.Local, c.Peer)
				}
			}
		})
	}
}
