package relay

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
	"tapwatch/internal/registry"
)

// The hops of a path: a proxy in the host in front of a relay in the slot, or,
// fused, without one.

// pathOf starts proxy and relay of a path and returns where clients connect.
type pathOf struct {
	name  string
	start func(t testing.TB, w *world, cpu int) (addr netip.AddrPort, front *proctest.Process)
}

var paths = []pathOf{
	{"direct", func(testing.TB, *world, int) (netip.AddrPort, *proctest.Process) { return envd, nil }},
	{"io.Copy + socat", func(t testing.TB, w *world, cpu int) (netip.AddrPort, *proctest.Process) {
		behind := socats.run(t, w, cpu)
		at := netip.AddrPortFrom(veth, 49983)
		return at, self(t, w.host, cpu, "copy", at.String(), behind.addr.String())
	}},
	{"HAProxy x2", func(t testing.TB, w *world, cpu int) (netip.AddrPort, *proctest.Process) {
		behind := haproxies.run(t, w, cpu)
		at := netip.AddrPortFrom(veth, 49984)
		front := *w
		front.slot = w.host
		return at, startHAProxy(t, &front, cpu, at, behind.addr)
	}},
	{"ours, relay", func(t testing.TB, w *world, cpu int) (netip.AddrPort, *proctest.Process) {
		at := netip.AddrPortFrom(vpeer, envd.Port())
		waitListening(t, w.slot, at, startOurs(t, w, cpu, at, envd))
		return startProxy(t, w, cpu, 49985, registry.Relay)
	}},
	{"ours, fused", func(t testing.TB, w *world, cpu int) (netip.AddrPort, *proctest.Process) {
		return startProxy(t, w, cpu, 49986, registry.Fused)
	}},
}

// startProxy runs tapwatch proxy with a record of the slot.
func startProxy(t testing.TB, w *world, cpu int, port uint16, shape registry.Shape) (netip.AddrPort, *proctest.Process) {
	t.Helper()
	dir := registry.Dir(filepath.Join(t.TempDir(), string(shape)))
	err := dir.Put(registry.Slot{
		Index: 1, Netns: w.slot, VpeerIP: vpeer.String(), GuestIP: guest.String(),
		Sandbox: &registry.Sandbox{ID: "iabc", State: registry.Running, Shape: shape},
	})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.AddrPortFrom(veth, port)
	return at, start(t, w.host, cpu, tapwatch(t), "proxy", "--listen", at.String(), "--run-dir", string(dir))
}

// runPaths starts all of them with a server behind.
func runPaths(t testing.TB, w *world, cpu int) []running {
	t.Helper()
	w.serveEnvd(t, cpu)
	var all []running
	for _, p := range paths {
		at, front := p.start(t, w, cpu)
		r := running{contender{name: p.name}, at, front}
		if front != nil {
			waitIn(t, w.host, at, front)
		}
		all = append(all, r)
	}
	return all
}

func waitIn(t testing.TB, ns string, at netip.AddrPort, p *proctest.Process) {
	t.Helper()
	nettest.Eventually(t, "an answer at "+at.String(), func() bool {
		select {
		case <-p.Ended:
			t.Fatalf("%s ended: %s", p.Cmd.Path, p.Output())
		default:
		}
		return netns.Do(ns, func() error {
			_, err := roundTrips(at, time.Millisecond)
			return err
		}) == nil
	})
}

const incumbent = "io.Copy + socat"

func BenchmarkPathBulk(b *testing.B) {
	w := newWorld(b)
	of := runPaths(b, w, -1)
	for _, dir := range []struct {
		name string
		down bool
	}{{"to the guest", false}, {"from the guest", true}} {
		row := inOrder(newRow("proxy and relay, bulk "+dir.name+", GB/s", "%.2f", goal{incumbent, 6.5, false}), of)
		turns(b, of, func(r running) {
			asClient(b, w, -1, func() error {
				rate, _, err := bulk(r.addr, dir.down, *window, r.pid())
				row.add(r.name, rate/1e9)
				return err
			})
		})
	}
}

func BenchmarkPathRequest(b *testing.B) {
	const cpu = 0
	w := newWorld(b)
	of := runPaths(b, w, cpu)
	at := netip.AddrPortFrom(veth, 49987)
	least := self(b, w.host, cpu, "least", at.String(), envd.String(), w.slot)
	waitIn(b, w.host, at, least)
	of = slices.Insert(of, 1, running{contender{name: "one process at least"}, at, least})
	row := inOrder(newRow("proxy and relay, request p50, all on one CPU, us", "%.1f", goal{"HAProxy x2", 0.3, true}), of)
	turns(b, of, func(r running) {
		asClient(b, w, cpu, func() error {
			p50, err := roundTrips(r.addr, *window)
			row.add(r.name, float64(p50)/float64(time.Microsecond))
			return err
		})
	})
}

func BenchmarkPathConnect(b *testing.B) {
	w := newWorld(b)
	of := runPaths(b, w, -1)
	row := inOrder(newRow("proxy and relay, connect + request + close, 16 at once, thousands/s", "%.2f", goal{incumbent, 5.5, false}), of)
	crowdRow := inOrder(newRow("proxy and relay, requests/s over 64 connections, thousands", "%.1f"), of)
	turns(b, of, func(r running) {
		asClient(b, w, -1, func() error {
			rate, err := crowd(r.addr, 16, true, *window)
			row.add(r.name, rate/1e3)
			return err
		})
		asClient(b, w, -1, func() error {
			rate, err := crowd(r.addr, 64, false, *window)
			crowdRow.add(r.name, rate/1e3)
			return err
		})
	})
}
