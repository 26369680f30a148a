package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkFlood tells what requests to one sandbox take while another is
// flooded by 64 clients, and without. Clients, proxy and sandboxes are one
// process here, so that the flood takes more of the CPUs than in life.
func BenchmarkFlood(b *testing.B) {
	for _, clients := range []int{0, 64} {
		name := "quiet"
		if clients > 0 {
			name = "flooded"
		}
		b.Run(name, func(b *testing.B) { benchmarkBeside(b, clients) })
	}
}

func benchmarkBeside(b *testing.B, clients int) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer backend.Close()
	addr := netip.MustParseAddrPort(backend.Listener.Addr().String())
	var s sandboxes
	s.put("flooded", addr, nil)
	s.put("other", addr, nil)
	p, err := New(Config{Resolve: s.resolve})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	l, err := p.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for range clients {
		flood.Go(func() {
			t := &http.Transport{}
			defer t.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
					_ = request(t, url, "flooded")
				}
			}
		})
	}
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	var took []time.Duration
	for b.Loop() {
		begun := time.Now()
		if err := request(t, url, "other"); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begun))
	}
	close(stop)
	flood.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}

func request(t *http.Transport, url, id string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("E2b-Sandbox-Id", id)
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
