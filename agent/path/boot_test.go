package path

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestBootSteps(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, int64(ms)*1e6) }
	ms := time.Millisecond
	for name, c := range map[string]struct {
		ends map[Phase]int // milliseconds after the begin
		want []Step
	}{
		"nothing is known": {nil, nil},
		"in order": {map[Phase]int{SlotReady: 2, VMMStarted: 12, EnvdHealthy: 912}, []Step{
			{SlotReady, at(2), 2 * ms, 2 * ms}, {VMMStarted, at(12), 12 * ms, 10 * ms}, {EnvdHealthy, at(912), 912 * ms, 900 * ms}}},
		// The slot stood in a pool, which is no part of the boot.
		"a slot from before": {map[Phase]int{SlotReady: -5000, VMMStarted: 10}, []Step{
			{SlotReady, at(0), 0, 0}, {VMMStarted, at(10), 10 * ms, 10 * ms}}},
		// What is learned late takes nothing, and the next counts from it.
		"out of order": {map[Phase]int{CarrierSeen: 30, GuestFrame: 20, ARPAnswered: 50}, []Step{
			{CarrierSeen, at(30), 30 * ms, 30 * ms}, {GuestFrame, at(20), 20 * ms, 0}, {ARPAnswered, at(50), 50 * ms, 20 * ms}}},
	} {
		b := &Boot{Begin: at(0), Watched: true}
		for p, end := range c.ends {
			b = b.With(p, at(end))
		}
		if got := b.Steps(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestBootKeepsTheFirst(t *testing.T) {
	none := &Boot{Begin: time.Unix(0, 0)}
	one := none.With(SYNACK, time.Unix(1, 0))
	if none.At(SYNACK) != (time.Time{}) {
		t.Error("a published boot was changed")
	}
	if b := one.With(SYNACK, time.Unix(2, 0)); b != one {
		t.Error("a later end took the place of the first")
	}
	if b := one.With(GuestFrame, time.Time{}); b != one {
		t.Error("never is taken for a time")
	}
	if one.Complete() {
		t.Error("complete with one phase")
	}
	all := none
	for i, p := range Phases {
		all = all.With(p, time.Unix(int64(i), 0))
	}
	if !all.Complete() || len(all.Steps()) != PhaseCount {
		t.Error("not complete with all phases")
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var again Boot
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	for _, p := range Phases {
		if !again.At(p).Equal(all.At(p)) {
			t.Errorf("%s: %v through JSON, was %v", p, again.At(p), all.At(p))
		}
	}
}
