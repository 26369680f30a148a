package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"tapwatch/agent/path"
)

// The gatherer gives what a registry that checks everything gives, and makes a
// slot's metrics anew only where the slot is another.
func TestGathererIsTheRegistry(t *testing.T) {
	s := snapshot()
	get := func() Snapshot { return s }
	strict := prometheus.NewPedanticRegistry()
	strict.MustRegister(Collector{Snapshot: get})
	host := prometheus.NewRegistry()
	host.MustRegister(Collector{Snapshot: get, withoutSlots: true})
	g := NewGatherer(host, get)
	compare := func() {
		t.Helper()
		want, err := strict.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d families, want %d", len(got), len(want))
		}
		for i := range want {
			same := len(got[i].Metric) == len(want[i].Metric)
			for _, m := range want[i].Metric { // a registry sorts them, nothing needs it
				found := false
				for _, n := range got[i].Metric {
					found = found || proto.Equal(m, n)
				}
				same = same && found
			}
			if !same || got[i].GetName() != want[i].GetName() || got[i].GetHelp() != want[i].GetHelp() || got[i].GetType() != want[i].GetType() {
				t.Errorf("got  %v\nwant %v", got[i], want[i])
			}
		}
	}
	compare()
	kept := g.known[s.Slots[1]][0].metric
	changed := *s.Slots[0]
	changed.Device.Carrier = path.Yes
	s.Slots = []*path.Slot{&changed, s.Slots[1]}
	compare()
	if len(g.known) != 2 || g.known[s.Slots[1]][0].metric != kept {
		t.Error("what has not changed was made again, or what has gone is kept")
	}
}
