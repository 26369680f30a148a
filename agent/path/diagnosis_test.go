package path

import "testing"

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
