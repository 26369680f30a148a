package scale

import (
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// guest writes frames to its tap, one a millisecond, until stopped. What it sends
// is all that the tap receives.
type guest struct {
	sent       atomic.Uint64
	end, ended chan struct{}
}

func speak(t testing.TB, tap *os.File) *guest {
	t.Helper()
	g := &guest{end: make(chan struct{}), ended: make(chan struct{})}
	frame := frame()
	go func() {
		defer close(g.ended)
		for {
			select {
			case <-g.end:
				return
			case <-time.After(time.Millisecond):
			}
			if _, err := tap.Write(frame); err != nil {
				t.Error(err)
				return
			}
			g.sent.Add(1)
		}
	}()
	return g
}

// frame is a broadcast of no protocol that anybody has.
func frame() []byte {
	b := make([]byte, 10+60) // struct virtio_net_hdr comes first
	copy(b[10:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	return b
}

// stop returns how many frames were sent.
func (g *guest) stop() uint64 {
	close(g.end)
	<-g.ended
	return g.sent.Load()
}

// received is what the agent says that the first bound slot's tap received, and
// since when; ok is false where it does not say both.
func (w *watcher) received() (n float64, created time.Time, ok bool) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+"/metrics", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim))) // the format that has created timestamps
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	d := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
	for {
		var f dto.MetricFamily
		if err := d.Decode(&f); err != nil { // its end above all
			return n, created, ok
		}
		if f.GetName() != "tapwatch_network_receive_packets_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "sandbox_id" && l.GetValue() == "i000000" {
					c := m.GetCounter()
					n, created, ok = c.GetValue(), c.GetCreatedTimestamp().AsTime(), c.GetCreatedTimestamp() != nil
				}
			}
		}
	}
}
