package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// fleet is a snapshot of a host's slots. Bound ones have traffic.
func fleet(idle, bound int) Snapshot {
	s := snapshot()
	s.Slots = nil
	for i := range idle + bound {
		v := path.Slot{Facts: path.Facts{Netns: fmt.Sprintf("ns-%d", i), Device: path.Device{Name: "tap0",
			Exists: path.Yes, AdminUp: path.Yes, Carrier: path.No, Holders: []path.Holder{}}}, Diagnosis: path.Diagnosis{State: path.Idle}}
		if i < bound {
			v.Sandbox = &path.Sandbox{ID: fmt.Sprintf("i%06d", i), Name: "bench", TemplateID: "base", BuildID: "b", Source: "tapwatch", Shape: registry.Relay, Since: time.Unix(1000, 0)}
			v.Traffic = &path.Traffic{ReceivePackets: 7, SYNs: 5, Since: time.Unix(1000, 0)}
			v.Diagnosis = path.Diagnosis{State: path.OK}
			for _, h := range path.Hops {
				v.Diagnosis.Hops = append(v.Diagnosis.Hops, path.HopState{Hop: h, State: path.OK})
			}
		}
		s.Slots = append(s.Slots, &v)
	}
	return s
}

// scraper keeps nothing of what it is told: its memory is no part of a scrape's.
type scraper struct{ header http.Header }

func (s scraper) Header() http.Header         { return s.header }
func (s scraper) Write(b []byte) (int, error) { return len(b), nil }
func (s scraper) WriteHeader(code int) {
	if code != http.StatusOK {
		panic(fmt.Sprint("scrape answered by ", code))
	}
}

// BenchmarkScrape measures a scrape between two of which all bound slots change,
// and one between two of which nothing does.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []struct{ idle, bound int }{{1000, 0}, {0, 1000}, {9000, 1000}} {
		for _, changing := range []bool{true, false} {
			b.Run(fmt.Sprintf("idle=%d/bound=%d/changing=%t", n.idle, n.bound, changing), func(b *testing.B) {
				s := fleet(n.idle, n.bound)
				h := Handler(func() Snapshot { return s }, slog.New(slog.DiscardHandler))
				b.ReportAllocs()
				for b.Loop() {
					if changing {
						for i := range n.bound {
							v := *s.Slots[i]
							s.Slots[i] = &v
						}
					}
					w := scraper{http.Header{}}
					h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				}
			})
		}
	}
}
