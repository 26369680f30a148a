package metrics

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// snapshot has a broken sandbox, an idle slot, one of which nothing is known, and
// a tap that has gone.
func snapshot() Snapshot {
	broken := path.Slot{
		Facts: path.Facts{
			Netns:   "ns-1",
			Sandbox: &path.Sandbox{ID: "i1", Name: "one", TemplateID: "base", BuildID: "b", Source: "tapwatch", Shape: registry.Relay, Since: time.Unix(1000, 0)},
			Device:  path.Device{Name: "tap0", Exists: path.Yes, AdminUp: path.Yes, Carrier: path.No, Ups: 3, Downs: 4, Holders: []path.Holder{}},
			Traffic: &path.Traffic{HiddenReceive: hidden(3), HiddenTransmit: hidden(0), ReceivePackets: 7, ReceiveResets: 2, RelayResets: 4, SYNs: 5, TransmitDrops: map[string]uint64{"FULL_RING": 9}, Since: time.Unix(2000, 0)},
			Seen:    map[path.Hop]path.Seen{path.Relay: {Good: time.Unix(2000, 0)}, path.Tap: {Good: time.Unix(1, 0), Bad: time.Unix(2, 0)}, path.Guest: {}},
			Health:  path.Health{Time: time.Unix(2001, 0), TimedOut: true, Error: "no answer in 2s"},
			Through: path.Health{Time: time.Unix(2001, 0), Connected: true, Code: 502},
		},
		Diagnosis: path.Diagnosis{
			State:    path.Broken,
			Hops:     []path.HopState{{Hop: path.Proxy, State: path.OK}, {Hop: path.Tap, State: path.Broken}, {Hop: path.Guest, State: path.Undecided}},
			Findings: []path.Finding{{Code: "vmm-exited", Hop: path.Tap, Severity: path.Critical, Since: time.Unix(4000, 0)}},
		},
	}
	idle := path.Slot{
		Facts:     path.Facts{Netns: "ns-2", Device: path.Device{Name: "tap0", Exists: path.Yes, Carrier: path.No, AdminUp: path.Yes}},
		Diagnosis: path.Diagnosis{State: path.Idle},
	}
	unknown := path.Slot{Facts: path.Facts{Netns: "ns-3", Device: path.Device{Name: "tap0"}, Sandbox: &path.Sandbox{ID: "i3"}}}
	gone := path.Slot{Facts: path.Facts{Netns: "ns-4", Sandbox: &path.Sandbox{ID: "i4"},
		Device:  path.Device{Name: "tap0", Exists: path.Yes, Ups: 1, Downs: 1},
		Traffic: &path.Traffic{ReceivePackets: 6, TransmitDrops: map[string]uint64{"QDISC_DROP": 1}, Since: time.Unix(3000, 0)}}}
	return Snapshot{
		Slots:  []*path.Slot{&broken, &idle, &unknown},
		Gone:   []*path.Slot{&gone},
		Detail: true,
		Counted: Counted{Found: map[string]uint64{"vmm-exited": 1, "no-carrier": 0}, Created: 2, Ended: map[string]uint64{"vmm_failed": 1},
			Failed: map[path.Hop]uint64{path.Tap: 1}, States: map[path.State]uint64{path.Broken: 1}, Exits: map[Exit]uint64{{Signal: "SIGKILL"}: 1}},
		Collectors: map[string]Collected{"holders": {Success: time.Unix(1000, 0), Took: time.Millisecond}, "links": {Failures: 1}},
		TapConnect: Histogram{Bounds: []time.Duration{time.Microsecond, 2 * time.Microsecond}, Counts: []uint64{1, 2, 4}, Sum: 3 * time.Millisecond},
		Attach: map[string]Attach{"tc": {Devices: 2, Took: Histogram{
			Bounds: []time.Duration{time.Millisecond}, Counts: []uint64{3, 1}, Sum: 5 * time.Millisecond}}},
		AttachErrors: map[string]uint64{"other": 2},
		Capabilities: map[string]bool{"holder_iterator": false},
		Levels:       path.Levels{Off: []string{"no-egress"}, Warn: []string{"conntrack-full"}},
		Asked:        map[Asked]uint64{{Way: "tap", Result: "not connected"}: 1, {Way: "path", Result: "ill"}: 2},
		PathDrops:    map[Dropped]uint64{{Direction: "receive", Reason: "NETFILTER_DROP"}: 4},
		AskedTook:    map[string]Histogram{"path": {Bounds: []time.Duration{time.Second}, Counts: []uint64{2, 0}, Sum: 2 * time.Millisecond}},
	}
}

func hidden(n uint64) *uint64 { return &n }

func TestCollect(t *testing.T) {
	c := Collector{Snapshot: snapshot}
	for _, tt := range []struct{ metric, want string }{
		{"tapwatch_network_carrier", `
# HELP tapwatch_network_carrier Carrier of the device: 1 carrier, 0 NO-CARRIER. Absent while unknown.
# TYPE tapwatch_network_carrier gauge
tapwatch_network_carrier{device="tap0",netns="ns-1",sandbox_id="i1"} 0
tapwatch_network_carrier{device="tap0",netns="ns-2",sandbox_id=""} 0
`},
		{"tapwatch_network_carrier_changes_total", `
# HELP tapwatch_network_carrier_changes_total Times that the carrier of the device came or went since the device was made.
# TYPE tapwatch_network_carrier_changes_total counter
tapwatch_network_carrier_changes_total{device="tap0",netns="ns-1",sandbox_id="i1"} 7
tapwatch_network_carrier_changes_total{device="tap0",netns="ns-2",sandbox_id=""} 0
tapwatch_network_carrier_changes_total{device="tap0",netns="ns-4",sandbox_id="i4"} 2
`},
		{"tapwatch_tap_holders", `
# HELP tapwatch_tap_holders Processes that have the tap open. Absent while unknown.
# TYPE tapwatch_tap_holders gauge
tapwatch_tap_holders{device="tap0",netns="ns-1",sandbox_id="i1"} 0
`},
		{"tapwatch_path_up", `
# HELP tapwatch_path_up Whether a hop of the path works: 1 ok, 0 broken. Absent while unknown or booting.
# TYPE tapwatch_path_up gauge
tapwatch_path_up{hop="proxy",netns="ns-1",sandbox_id="i1"} 1
tapwatch_path_up{hop="tap",netns="ns-1",sandbox_id="i1"} 0
`},
		{"tapwatch_path_seen_up", `
# HELP tapwatch_path_seen_up What was seen of a hop last: 1 it answered, 0 it did not. By real traffic (origin traffic), or by the agent's own questions (origin probe). Absent while nothing was, or nothing that is certain.
# TYPE tapwatch_path_seen_up gauge
tapwatch_path_seen_up{hop="proxy",netns="ns-1",origin="probe",sandbox_id="i1"} 1
tapwatch_path_seen_up{hop="relay",netns="ns-1",origin="traffic",sandbox_id="i1"} 1
tapwatch_path_seen_up{hop="tap",netns="ns-1",origin="probe",sandbox_id="i1"} 0
tapwatch_path_seen_up{hop="tap",netns="ns-1",origin="traffic",sandbox_id="i1"} 0
`},
		{"tapwatch_health_probes_total", `
# HELP tapwatch_health_probes_total The agent's own questions for envd's health, by the way that they took (tap, straight at the tap from inside the namespace; path, through the proxy as clients do; relay, once, as proxies ask) and by result: ok; ill, an error was answered, by envd or on the way; no answer; not connected. By way relay the agent asks sandboxes that had no request for --probe-silent, by the other ways those that answered none for --probe-every.
# TYPE tapwatch_health_probes_total counter
tapwatch_health_probes_total{result="ill",way="path"} 2
tapwatch_health_probes_total{result="not connected",way="tap"} 1
`},
		{"tapwatch_probe_duration_seconds", `
# HELP tapwatch_probe_duration_seconds Time from one of these questions to its answer, connecting included, of those that were answered.
# TYPE tapwatch_probe_duration_seconds histogram
tapwatch_probe_duration_seconds_bucket{le="1",way="path"} 2
tapwatch_probe_duration_seconds_bucket{le="+Inf",way="path"} 2
tapwatch_probe_duration_seconds_sum{way="path"} 0.002
tapwatch_probe_duration_seconds_count{way="path"} 2
`},
		{"tapwatch_finding", `
# HELP tapwatch_finding A problem that was found; always 1, absent when it is gone.
# TYPE tapwatch_finding gauge
tapwatch_finding{code="vmm-exited",hop="tap",netns="ns-1",sandbox_id="i1",severity="critical"} 1
`},
		{"tapwatch_findings_total", `
# HELP tapwatch_findings_total Problems that were found, by the check: one of which the sandbox was rid between two scrapes too. Silenced ones count.
# TYPE tapwatch_findings_total counter
tapwatch_findings_total{code="no-carrier"} 0
tapwatch_findings_total{code="vmm-exited"} 1
`},
		{"tapwatch_finding_since_timestamp_seconds", `
# HELP tapwatch_finding_since_timestamp_seconds Unix time since which a problem is found. Absent when it is gone.
# TYPE tapwatch_finding_since_timestamp_seconds gauge
tapwatch_finding_since_timestamp_seconds{code="vmm-exited",hop="tap",netns="ns-1",sandbox_id="i1"} 4000
`},
		{"tapwatch_sandboxes_ended_total", `
# HELP tapwatch_sandboxes_ended_total Sandboxes that ended, by how: removed, as their launcher wanted; vmm_failed, their VMM ended as nobody wanted; unknown, nothing told.
# TYPE tapwatch_sandboxes_ended_total counter
tapwatch_sandboxes_ended_total{reason="removed"} 0
tapwatch_sandboxes_ended_total{reason="unknown"} 0
tapwatch_sandboxes_ended_total{reason="vmm_failed"} 1
`},
		{"tapwatch_vmm_exits_total", `
# HELP tapwatch_vmm_exits_total Ends of VMMs, by the signal that they died of (none: they exited, and status says whether with 0) and by whether that was wanted: status 0, or a signal of their launcher. Absent until one ended so.
# TYPE tapwatch_vmm_exits_total counter
tapwatch_vmm_exits_total{signal="SIGKILL",status="",wanted="false"} 1
`},
		{"tapwatch_collector_last_success_timestamp_seconds", `
# HELP tapwatch_collector_last_success_timestamp_seconds Unix time at which a part of the agent last asked the kernel with success. Those that ask only when something changed may rest for long. Absent until the first.
# TYPE tapwatch_collector_last_success_timestamp_seconds gauge
tapwatch_collector_last_success_timestamp_seconds{collector="holders"} 1000
`},
		{"tapwatch_slots", `
# HELP tapwatch_slots Taps on this host by state: bound, a sandbox is at it; idle, nobody holds it; unidentified, somebody holds it whom no rule knows; unknown, it has carrier, and who holds it cannot be seen.
# TYPE tapwatch_slots gauge
tapwatch_slots{state="bound"} 2
tapwatch_slots{state="idle"} 1
tapwatch_slots{state="unidentified"} 0
tapwatch_slots{state="unknown"} 0
`},
		{"tapwatch_tap_connect_seconds", `
# HELP tapwatch_tap_connect_seconds SYN to SYN-ACK at the taps of all sandboxes, of any port of the guest.
# TYPE tapwatch_tap_connect_seconds histogram
tapwatch_tap_connect_seconds_bucket{le="1e-06"} 1
tapwatch_tap_connect_seconds_bucket{le="2e-06"} 3
tapwatch_tap_connect_seconds_bucket{le="+Inf"} 7
tapwatch_tap_connect_seconds_sum 0.003
tapwatch_tap_connect_seconds_count 7
`},
		{"tapwatch_network_resets_total", `
# HELP tapwatch_network_resets_total TCP segments with RST by direction and by who sent them: guest; relay, a socket in the namespace; kernel, the namespace's for want of a socket; forwarded, from beyond.
# TYPE tapwatch_network_resets_total counter
tapwatch_network_resets_total{device="tap0",direction="receive",netns="ns-1",origin="guest",sandbox_id="i1"} 2
tapwatch_network_resets_total{device="tap0",direction="transmit",netns="ns-1",origin="kernel",sandbox_id="i1"} 0
tapwatch_network_resets_total{device="tap0",direction="transmit",netns="ns-1",origin="relay",sandbox_id="i1"} 4
tapwatch_network_resets_total{device="tap0",direction="receive",netns="ns-4",origin="guest",sandbox_id="i4"} 0
tapwatch_network_resets_total{device="tap0",direction="transmit",netns="ns-4",origin="forwarded",sandbox_id="i4"} 0
tapwatch_network_resets_total{device="tap0",direction="transmit",netns="ns-4",origin="kernel",sandbox_id="i4"} 0
tapwatch_network_resets_total{device="tap0",direction="transmit",netns="ns-4",origin="relay",sandbox_id="i4"} 0
`},
		{"tapwatch_path_drop_total", `
# HELP tapwatch_path_drop_total Packets of the service's port that the kernel dropped anywhere on the host, of all sandboxes, by direction (transmit, towards the guest; receive, from it) and by its reason (enum skb_drop_reason; unknown before Linux 5.17). Absent until there are any.
# TYPE tapwatch_path_drop_total counter
tapwatch_path_drop_total{direction="receive",reason="NETFILTER_DROP"} 4
`},
		{"tapwatch_network_transmit_drop_total", `
# HELP tapwatch_network_transmit_drop_total Frames to the guest that the kernel dropped, by its reason (enum skb_drop_reason).
# TYPE tapwatch_network_transmit_drop_total counter
tapwatch_network_transmit_drop_total{device="tap0",netns="ns-1",reason="FULL_RING",sandbox_id="i1"} 9
tapwatch_network_transmit_drop_total{device="tap0",netns="ns-4",reason="QDISC_DROP",sandbox_id="i4"} 1
`},
		{"tapwatch_network_retransmits_total", ""}, // unknown
		{"tapwatch_network_hidden_bytes_total", `
# HELP tapwatch_network_hidden_bytes_total Bytes that the device's driver counted and the agent's hooks did not see, because another program before them ends the chain or took them away. Absent until there are any, and with --metrics-detail until first compared.
# TYPE tapwatch_network_hidden_bytes_total counter
tapwatch_network_hidden_bytes_total{device="tap0",direction="receive",netns="ns-1",sandbox_id="i1"} 3
tapwatch_network_hidden_bytes_total{device="tap0",direction="transmit",netns="ns-1",sandbox_id="i1"} 0
`},
		{"tapwatch_probe_attached", `
# HELP tapwatch_probe_attached Devices that carry the agent's hooks, by how.
# TYPE tapwatch_probe_attached gauge
tapwatch_probe_attached{mode="tc"} 2
`},
		{"tapwatch_probe_attach_duration_seconds", `
# HELP tapwatch_probe_attach_duration_seconds Time that it took to hook a device, both directions.
# TYPE tapwatch_probe_attach_duration_seconds histogram
tapwatch_probe_attach_duration_seconds_bucket{le="0.001",mode="tc"} 3
tapwatch_probe_attach_duration_seconds_bucket{le="+Inf",mode="tc"} 4
tapwatch_probe_attach_duration_seconds_sum{mode="tc"} 0.005
tapwatch_probe_attach_duration_seconds_count{mode="tc"} 4
`},
		{"tapwatch_check_demoted", `
# HELP tapwatch_check_demoted 1 for each check that the operator switched off (to is off), or whose findings are made a warning or info at most.
# TYPE tapwatch_check_demoted gauge
tapwatch_check_demoted{code="conntrack-full",to="warning"} 1
tapwatch_check_demoted{code="no-egress",to="off"} 1
`},
		{"tapwatch_capability", `
# HELP tapwatch_capability Whether the kernel and the agent's privileges allow a feature: 1 yes, 0 no.
# TYPE tapwatch_capability gauge
tapwatch_capability{name="holder_iterator"} 0
`},
	} {
		t.Run(tt.metric, func(t *testing.T) {
			if err := testutil.CollectAndCompare(c, strings.NewReader(tt.want), tt.metric); err != nil {
				t.Error(err)
			}
		})
	}
}

// A counter says since when it counts.
func TestCreated(t *testing.T) {
	r := prometheus.NewRegistry()
	r.MustRegister(Collector{Snapshot: snapshot})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "tapwatch_network_receive_packets_total" {
			continue
		}
		if got := f.Metric[0].Counter.GetCreatedTimestamp().AsTime(); !got.Equal(time.Unix(2000, 0)) {
			t.Errorf("created %v", got)
		}
		return
	}
	t.Error("no such counter")
}

// promlint finds nothing, and every series is consistent with its family.
func TestLint(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(Collector{Snapshot: snapshot})
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestHandlerServesEverything(t *testing.T) {
	h := Handler(snapshot, slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	b, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("status %d, %v", w.Code, err)
	}
	for _, want := range []string{"tapwatch_build_info{", "go_goroutines ", "process_resident_memory_bytes ", "promhttp_metric_handler_requests_total", "tapwatch_sandbox_info{"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in /metrics", want)
		}
	}
}

// Of a sandbox with several taps the worst speaks for it, and no series is sent twice.
func TestTheWorstTapSpeaks(t *testing.T) {
	tap := func(device string, state path.State, codes ...string) *path.Slot {
		s := &path.Slot{Facts: path.Facts{Netns: "host", Sandbox: &path.Sandbox{ID: "i1"}, Device: path.Device{Name: device, Exists: path.Yes}}, Diagnosis: path.Diagnosis{State: state}}
		for _, code := range codes {
			s.Diagnosis.Findings = append(s.Diagnosis.Findings, path.Finding{Code: code})
		}
		return s
	}
	for name, c := range map[string]struct {
		taps []*path.Slot
		want int
	}{
		"the first":         {[]*path.Slot{tap("a", path.Broken, "tap-down"), tap("b", path.OK)}, 0},
		"the second":        {[]*path.Slot{tap("a", path.OK), tap("b", path.Broken, "tap-down")}, 1},
		"more findings":     {[]*path.Slot{tap("a", path.OK), tap("b", path.OK, "mtu-mismatch"), tap("c", path.OK)}, 1},
		"all alike":         {[]*path.Slot{tap("a", path.OK), tap("b", path.OK)}, 0},
		"one device, twice": {[]*path.Slot{tap("a", path.OK), tap("a", path.OK)}, 0},
	} {
		dups := duplicates(c.taps)
		for i := range c.taps {
			if dups[i].sandbox != (i != c.want) {
				t.Errorf("%s: tap %d is left out %v", name, i, dups[i].sandbox)
			}
		}
		if same := c.taps[0].Device.Name == c.taps[1].Device.Name; dups[1].device != same {
			t.Errorf("%s: the second device is left out %v", name, dups[1].device)
		}
	}
}

// What the alerts leave out while the operator wants none: by these labels, which
// test/monitoring relies on.
func TestSilencedSeries(t *testing.T) {
	s := snapshot()
	s.Slots[0].Silence = &path.Silence{Until: time.Unix(3000, 0)}
	want := `
# HELP tapwatch_sandbox_silenced The operator wants no alarm of the sandbox now; always 1. Its findings are not exported meanwhile.
# TYPE tapwatch_sandbox_silenced gauge
tapwatch_sandbox_silenced{netns="ns-1",sandbox_id="i1"} 1
`
	c := Collector{Snapshot: func() Snapshot { return s }}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "tapwatch_sandbox_silenced", "tapwatch_finding"); err != nil {
		t.Error(err)
	}
}
