package metrics

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tapwatch/internal/sandbox/stream"
)

func layers() []Layer {
	connect := stream.Histogram{Count: 3, Sum: 3 * time.Millisecond}
	connect.Buckets[20] = 3 // below 1.024 ms
	one := stream.Stats{
		Open: 2, Ended: map[stream.Reason]int64{stream.BackendReset: 1}, DialErrors: map[syscall.Errno]int64{syscall.ECONNREFUSED: 4},
		Bytes: [2]int64{10, 20}, Connect: connect,
		Kernel: [2]stream.Kernel{stream.Client: {Legs: 1, RTT: time.Millisecond}, stream.Backend: {Legs: 2, RTT: time.Second, Retransmits: 5}},
	}
	return []Layer{
		{Name: "proxy", BySandbox: map[string]stream.Stats{"i1": one}, Gone: stream.Stats{Connect: connect}},
		{Name: "relay", BySandbox: map[string]stream.Stats{"i1": {}, "i2": one}},
	}
}

// promlint finds nothing, and every series is consistent with its family.
func TestLint(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(Collector{Layers: layers, Detail: true})
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p.Metric, p.Text)
	}
}

func TestCollect(t *testing.T) {
	want := `
# HELP tapwatch_layer_connections Old name of tapwatch_sandbox_data_path_connections, for this release only.
# TYPE tapwatch_layer_connections gauge
tapwatch_layer_connections{layer="proxy",sandbox_id="i1"} 2
tapwatch_layer_connections{layer="relay",sandbox_id="i1"} 0
tapwatch_layer_connections{layer="relay",sandbox_id="i2"} 2
# HELP tapwatch_sandbox_data_path_connections_ended_total Connections through proxy or relay that are over, by who ended them and how; see docs/shapes.md. Absent until one ended so. Of single sandboxes.
# TYPE tapwatch_sandbox_data_path_connections_ended_total counter
tapwatch_sandbox_data_path_connections_ended_total{hop="proxy",reason="backend-reset",sandbox_id="i1"} 1
tapwatch_sandbox_data_path_connections_ended_total{hop="relay",reason="backend-reset",sandbox_id="i2"} 1
# HELP tapwatch_data_path_dial_errors_total Connections that proxy or relay could not make towards sandboxes, by errno. Absent until there is one.
# TYPE tapwatch_data_path_dial_errors_total counter
tapwatch_data_path_dial_errors_total{errno="ECONNREFUSED",hop="proxy"} 4
tapwatch_data_path_dial_errors_total{errno="ECONNREFUSED",hop="relay"} 4
# HELP tapwatch_sandbox_data_path_receive_bytes_total Bytes that proxy or relay passed on from sandboxes. Of single sandboxes.
# TYPE tapwatch_sandbox_data_path_receive_bytes_total counter
tapwatch_sandbox_data_path_receive_bytes_total{hop="proxy",sandbox_id="i1"} 20
tapwatch_sandbox_data_path_receive_bytes_total{hop="relay",sandbox_id="i1"} 0
tapwatch_sandbox_data_path_receive_bytes_total{hop="relay",sandbox_id="i2"} 20
`
	names := []string{"tapwatch_layer_connections", "tapwatch_sandbox_data_path_connections_ended_total", "tapwatch_data_path_dial_errors_total", "tapwatch_sandbox_data_path_receive_bytes_total"}
	if err := testutil.CollectAndCompare(Collector{Layers: layers, Detail: true}, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

// What is told over all sandboxes counts those that have gone too.
func TestGoneSandboxesStayInTheSum(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(Collector{Layers: layers, Detail: true})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tapwatch_layer_connect_seconds" {
			continue
		}
		if n := f.GetMetric()[0].GetHistogram().GetSampleCount(); n != 6 {
			t.Errorf("%d connections of the proxy, want 6", n)
		}
		return
	}
	t.Error("no histogram")
}

// Without Detail no series names a sandbox: however many there are, there are no more.
func TestNoSeriesOfASandbox(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(Collector{Layers: layers})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "sandbox_id" {
					t.Errorf("%s names a sandbox", f.GetName())
				}
			}
		}
	}
}
