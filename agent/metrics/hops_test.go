package metrics

import (
	"log/slog"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// measured has a request at a bound, one just above, one below all and one above
// all bounds.
func measured() *flow.Stats {
	h := flow.Histogram{Count: 5, Sum: 300 * time.Second}
	h.Places[0] = 1
	h.Places[80] = 1 // up to 2^-10 s
	h.Places[81] = 2
	h.Places[len(h.Places)-1] = 1
	return &flow.Stats{
		Began:     time.Unix(1000, 0),
		Hops:      map[path.Hop]flow.Histogram{path.Tap: h},
		Parts:     []flow.PartOf{{Hop: path.Tap, Part: "queue", Histogram: h}},
		Sandboxes: map[netns.Cookie]*[len(flow.Hops)]flow.OfSandbox{7: {2: {Began: time.Unix(2000, 0), Histogram: h}}, 8: {}},
		Recent: map[path.Hop][]flow.Sample{path.Tap: {
			{Netns: 7, Took: time.Millisecond, At: time.Unix(3000, 0), Place: 81}, {Netns: 9, Took: time.Hour, Place: 0},
		}},
		Joined:   []flow.Joined{{Hop: path.Proxy, How: "told", Count: 3}},
		Unjoined: []flow.Unjoined{{Hop: path.Relay, Reason: "no_backend", Count: 2}},
		Failed:   []flow.Failed{{Hop: path.Envd, Errno: 111, Count: 4}, {Hop: path.Tap, Count: 1}},
		LeftOut:  6,
	}
}

func withHops() Snapshot {
	return Snapshot{
		Slots: []*path.Slot{{Facts: path.Facts{
			Netns: "ns-1", Cookie: 7, Sandbox: &path.Sandbox{ID: "i1"},
			Seen:   map[path.Hop]path.Seen{path.Envd: {Good: time.Unix(1, 0), Bad: time.Unix(2, 0)}, path.Tap: {Good: time.Unix(2, 0), Bad: time.Unix(1, 0)}},
			Health: path.Health{Time: time.Unix(1, 0), Connected: true, Code: 204},
		}}},
		Hops: measured, Detail: true,
	}
}

func gathered(t *testing.T, s Snapshot) map[string]*dto.MetricFamily {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(Collector{Snapshot: func() Snapshot { return s }})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.MetricFamily{}
	for _, f := range families {
		all[f.GetName()] = f
	}
	return all
}

func TestHopHistogramIsClassicAndNative(t *testing.T) {
	all := gathered(t, withHops())
	var h *dto.Histogram
	for _, m := range all["tapwatch_hop_latency_seconds"].Metric {
		if m.Label[0].GetValue() == "tap" {
			h = m.Histogram
		}
	}
	if h.GetSampleCount() != 5 || h.GetSampleSum() != 300 || h.CreatedTimestamp.AsTime().Unix() != 1000 {
		t.Errorf("%v", h)
	}
	classic := map[float64]uint64{}
	for _, b := range h.Bucket {
		classic[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if len(classic) != flow.Octaves+1+18 || classic[math.Exp2(-9.5)] != 4 || classic[math.Exp2(-20)] != 1 || classic[math.Exp2(-11)] != 1 || classic[math.Exp2(-10)] != 2 || classic[math.Exp2(-9)] != 4 || classic[128] != 4 {
		t.Errorf("%v", classic)
	}
	if h.GetSchema() != 3 || h.GetZeroCount() != 1 || h.GetZeroThreshold() != math.Exp2(-20) {
		t.Errorf("schema %d, %d below %g", h.GetSchema(), h.GetZeroCount(), h.GetZeroThreshold())
	}
	native, index, count := map[int32]int64{}, int32(0), int64(0)
	deltas := h.PositiveDelta
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			native[index] = count
			index++
		}
	}
	// Bucket i of schema 3 ends at 2^(i/8) s.
	if len(native) != 3 || native[-80] != 1 || native[-79] != 2 || native[57] != 1 {
		t.Errorf("%v", native)
	}
	if e := h.Bucket[15].Exemplar; e.GetValue() != 0.001 || e.Label[0].GetValue() != "i1" || len(h.Exemplars) != 1 {
		t.Errorf("%v, %v", e, h.Exemplars)
	}
	if own := all["tapwatch_sandbox_hop_latency_seconds"].Metric; len(own) != 4 { // of ns-1 alone
		t.Errorf("%d series of single sandboxes", len(own))
	} else if h := own[3].Histogram; len(h.Bucket) != 0 || len(h.PositiveSpan) == 0 {
		t.Errorf("a sandbox's own histogram is not a native one alone: %v", h)
	}
}

func TestHopsAsText(t *testing.T) {
	s := withHops()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	Handler(func() Snapshot { return s }, slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	for _, want := range []string{
		`tapwatch_hop_latency_seconds_bucket{hop="tap",le="0.0013810679320049755"} 4 # {sandbox_id="i1"} 0.001 3000`,
		`tapwatch_hop_part_seconds_count{hop="tap",part="queue"} 5`,
		`tapwatch_flow_joined_total{hop="proxy",how="told"} 3`,
		`tapwatch_flow_unjoined_total{hop="relay",reason="no_backend"} 2`,
		`tapwatch_connect_failures_total{errno="ECONNREFUSED",hop="envd"} 4`,
		`tapwatch_connect_failures_total{errno="GAVE_UP",hop="tap"} 1`,
		`tapwatch_sandbox_hops_left_out_total 6`,
		`tapwatch_path_seen_up{hop="envd",netns="ns-1",origin="traffic",sandbox_id="i1"} 0`,
		`tapwatch_path_seen_up{hop="tap",netns="ns-1",origin="traffic",sandbox_id="i1"} 1`,
		`tapwatch_path_seen_up{hop="envd",netns="ns-1",origin="probe",sandbox_id="i1"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is not in\n%s", want, w.Body)
		}
	}
}

// What is not measured has no series: none is not a count of zero.
func TestNoHops(t *testing.T) {
	for _, hops := range []func() *flow.Stats{nil, func() *flow.Stats { return nil }} {
		for name := range gathered(t, Snapshot{Hops: hops}) {
			if strings.Contains(name, "hop") || strings.Contains(name, "flow") {
				t.Error(name)
			}
		}
	}
}
