package relay

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tapwatch/internal/registry"
)

// flood keeps so many connections to the proxy busy with requests for another port
// of the guest's, until it is killed: roles are in processes of their own.
func flood(args []string) error {
	at, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	conns, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	request = floodRequest()
	_, err = crowd(at, conns, false, time.Hour)
	return err
}

const floodPort = 49999

// floodRequest is for another sandbox behind another port.
func floodRequest() []byte {
	b := bytes.Replace(request, []byte("iabc"), []byte("iflood"), 1)
	return bytes.Replace(b, []byte("49983"), []byte(strconv.Itoa(floodPort)), 1)
}

// BenchmarkPathFlood tells what a sandbox's requests take while another is
// flooded over 64 connections, and while it is not: flood, client, both sandboxes
// and the proxy are processes of their own. What the busy machine alone makes of them
// shows through a proxy that carries nothing else, and without any.
func BenchmarkPathFlood(b *testing.B) {
	w := newWorld(b)
	w.serveEnvd(b, -1)
	other := self(b, w.guest, -1, "serve", netip.AddrPortFrom(guest, floodPort).String())
	other.WaitFor(b, 0, "serves")
	dir := registry.Dir(filepath.Join(b.TempDir(), "run"))
	for i, id := range []string{"iabc", "iflood"} {
		err := dir.Put(registry.Slot{
			Index: i + 1, Netns: w.slot, GuestIP: guest.String(),
			Sandbox: &registry.Sandbox{ID: id, State: registry.Running, Shape: registry.Fused},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	at := netip.AddrPortFrom(veth, 49983)
	own := netip.AddrPortFrom(veth, 49984)
	for _, addr := range []netip.AddrPort{at, own} {
		layer := start(b, w.host, -1, tapwatch(b), "proxy", "--listen", addr.String(), "--run-dir", string(dir))
		waitIn(b, w.host, addr, layer)
	}
	row := newRow("p99 of one sandbox's requests, us", "%.0f")
	median := newRow("p50 of them, us", "%.0f")
	for range *rounds {
		for _, flooded := range []bool{false, true} {
			name, stop := "alone", func() {}
			if flooded {
				name = "beside a flood"
				p := self(b, w.host, -1, "flood", at.String(), "64")
				stop = func() { p.Stop(b) }
				time.Sleep(200 * time.Millisecond) // until it is at full height
			}
			for _, way := range []struct {
				name string
				to   netip.AddrPort
			}{{"", at}, {", own proxy", own}, {", without the proxy", envd}} {
				asClient(b, w, -1, func() error {
					times, err := allTrips(way.to, *window)
					if err == nil {
						row.add(name+way.name, micros(times[len(times)*99/100]))
						median.add(name+way.name, micros(times[len(times)/2]))
					}
					return err
				})
			}
			stop()
		}
	}
	b.ReportMetric(row.ratio("beside a flood", "alone"), "p99-ratio")
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
