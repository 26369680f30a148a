package metrics

import (
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"tapwatch/agent/path"
)

// strange is the snapshot with names that need escapes, and large numbers.
func strange() Snapshot {
	s := snapshot()
	v := *s.Slots[0]
	v.Netns, v.Device.Name = "a\"b\\c\nd\xff", "täp"
	box := *v.Sandbox
	box.ID = ""
	v.Sandbox = &box
	traffic := *v.Traffic
	traffic.ReceiveBytes, traffic.TransmitBytes = 1234567, 1<<60
	traffic.ReceivePackets, traffic.TransmitPackets, traffic.SYNs = 999_999, 1_000_000, 100_000
	v.Traffic = &traffic
	v.Diagnosis.Findings = nil
	s.Slots = append(s.Slots, &v)
	return s
}

// What the library writes of the same snapshot, line by line. It sorts the
// metrics of a family, which nothing needs.
func TestTextIsTheLibrarys(t *testing.T) {
	s := strange()
	if shown := s.Slots[0].Shown(); len(s.Slots[0].Seen) == 0 || len(shown) == 0 {
		t.Fatal("the snapshot has nothing that was seen")
	}
	s.Slots = append(s.Slots, fleet(0, 2*together).Slots...) // more than one CPU's part
	r := prometheus.NewRegistry()
	r.MustRegister(Collector{Snapshot: func() Snapshot { return valid(s) }, withoutHost: true})
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []expfmt.FormatType{expfmt.TypeTextPlain, expfmt.TypeOpenMetrics} {
		format := expfmt.NewFormat(f)
		var want, got strings.Builder
		enc := expfmt.NewEncoder(&want, format)
		for _, family := range families {
			if err := enc.Encode(family); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeSlots(&got, s, f == expfmt.TypeOpenMetrics); err != nil {
			t.Fatal(err)
		}
		a, b := sorted(want.String()), sorted(got.String())
		if !slices.Equal(a, b) {
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("%v: got\n%q\nwant\n%q", format, b[i], a[i])
				}
			}
			t.Fatalf("%v: %d lines, want %d", format, len(b), len(a))
		}
	}
}

// valid has what no UTF-8 is replaced, which the registry refuses.
func valid(s Snapshot) Snapshot {
	s.Slots = slices.Clone(s.Slots)
	for i, v := range s.Slots {
		c := *v
		c.Netns = strings.ToValidUTF8(v.Netns, "\uFFFD")
		s.Slots[i] = &c
	}
	return s
}

// sorted keeps the lines of a family together, and puts each family's in order.
func sorted(text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	start := 0
	for i := 1; i <= len(lines); i++ {
		if i == len(lines) || strings.HasPrefix(lines[i], "# HELP") {
			slices.Sort(lines[start+2 : i])
			start = i
		}
	}
	return lines
}

// Every format that a scraper may ask for has the host's and the slots' metrics,
// and what the library reads from it is complete.
func TestFormats(t *testing.T) {
	h := Handler(snapshot, slog.New(slog.NewTextHandler(t.Output(), nil)))
	for _, accept := range []string{"", "text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0",
		"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"} {
		for _, encoding := range []string{"", "gzip"} {
			req := httptest.NewRequest("GET", "/metrics", nil)
			req.Header.Set("Accept", accept)
			req.Header.Set("Accept-Encoding", encoding)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			body := io.Reader(w.Body)
			if encoding == "gzip" {
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Fatalf("%q: %v", accept, err)
				}
				body = z
			}
			b, err := io.ReadAll(body)
			if err != nil {
				t.Fatalf("%q %q: %v", accept, encoding, err)
			}
			for _, name := range []string{"tapwatch_network_receive_packets", "tapwatch_slots", "go_goroutines"} {
				if !strings.Contains(string(b), name) {
					t.Errorf("%q %q: no %s", accept, encoding, name)
				}
			}
			if strings.Contains(accept, "openmetrics") != strings.HasSuffix(string(b), "# EOF\n") {
				t.Errorf("%q %q: ends with %q", accept, encoding, b[max(0, len(b)-20):])
			}
			if strings.Contains(accept, "protobuf") || strings.Contains(accept, "openmetrics") {
				continue
			}
			dec := expfmt.NewDecoder(strings.NewReader(string(b)), expfmt.NewFormat(expfmt.TypeTextPlain))
			if families := decodeAll(t, dec); families < 20 {
				t.Errorf("%q %q: %d families", accept, encoding, families)
			}
		}
	}
}

func TestUnknownIsNotWritten(t *testing.T) {
	var b strings.Builder
	if err := writeSlots(&b, Snapshot{Slots: []*path.Slot{{Facts: path.Facts{Netns: "ns-1"}}}}, false); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "tapwatch_network_carrier") {
		t.Errorf("an unknown carrier is told: %s", b.String())
	}
}

func decodeAll(t *testing.T, dec expfmt.Decoder) (n int) {
	t.Helper()
	for ; ; n++ {
		var f dto.MetricFamily
		err := dec.Decode(&f)
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
