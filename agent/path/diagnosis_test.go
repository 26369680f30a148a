package path

import (
	"slices"
	"testing"
)

func TestBrokenAt(t *testing.T) {
	for name, c := range map[string]struct {
		states []State // of the hops in order
		want   Hop
	}{
		"healthy":            {[]State{OK, OK, OK, OK, OK}, ""},
		"idle":               {nil, ""},
		"nothing is known":   {[]State{Undecided, OK, Undecided, Undecided, Undecided}, ""},
		"one":                {[]State{OK, OK, Broken, Undecided, Undecided}, Tap},
		"the first of two":   {[]State{Broken, Undecided, OK, OK, Broken}, Proxy},
		"booting":            {[]State{OK, OK, Booting, Undecided, Undecided}, Tap},
		"broken and booting": {[]State{OK, OK, Booting, Undecided, Broken}, Envd},
	} {
		var d Diagnosis
		for i, s := range c.states {
			d.Hops = append(d.Hops, HopState{Hop: Hops[i], State: s})
		}
		if got := d.BrokenAt(); got != c.want {
			t.Errorf("%s: broken at %q, want %q", name, got, c.want)
		}
	}
}

func TestCompare(t *testing.T) {
	finding := Finding{Code: "tap-down"}
	order := []Diagnosis{{State: Idle}, {State: OK}, {State: OK, Findings: []Finding{finding}}, {State: Undecided}, {State: Broken, Findings: []Finding{finding}}}
	if !slices.IsSortedFunc(order, func(a, b Diagnosis) int { return a.Compare(&b) }) {
		t.Error("what matters more does not come later")
	}
	if a, b := order[1], order[1]; a.Compare(&b) != 0 {
		t.Error("two alike differ")
	}
}
