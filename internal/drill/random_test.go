package drill

import (
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/agent/trace"
	"tapwatch/internal/registry"
)

func TestRandomIsRepeatable(t *testing.T) {
	what := func(seed uint64) (all []string) {
		for _, f := range Random(seed, 50) {
			all = append(all, f.What)
		}
		return all
	}
	if !slices.Equal(what(7), what(7)) {
		t.Error("the same seed makes other faults")
	}
	if slices.Equal(what(7), what(8)) {
		t.Error("another seed makes the same faults")
	}
}

func TestBrokenAt(t *testing.T) {
	// A request over a connection of its own, as it passes the devices.
	older := trace.Frame{Point: 1, Answer: true, Out: true, Flags: 16, Len: 9, Client: 7} // of a connection from before
	all := []trace.Frame{
		{Point: 0, Out: true, Flags: 2}, {Point: 1, Flags: 2}, {Point: 1, Answer: true, Out: true, Flags: 18}, {Point: 0, Answer: true, Flags: 18},
		{Point: 0, Out: true, Flags: 16, Len: 9}, {Point: 1, Flags: 16, Len: 9},
		{Point: 2, Out: true, Flags: 2}, {Point: 2, Answer: true, Flags: 18}, {Point: 2, Out: true, Flags: 16, Len: 9}, {Point: 2, Answer: true, Flags: 16, Len: 9},
		{Point: 1, Answer: true, Out: true, Flags: 16, Len: 9}, {Point: 0, Answer: true, Flags: 16, Len: 9},
	}
	want := []string{"relay", "relay", "relay", "relay", "proxy relay", "relay", "tap", "guest envd", "relay tap", "guest envd", "relay", "relay", "proxy"}
	for n := range len(all) + 1 {
		var names []string
		for _, h := range brokenAt(append(slices.Clone(all[:n]), older), registry.Relay) {
			names = append(names, string(h))
		}
		if got := strings.Join(names, " "); got != want[n] {
			t.Errorf("%d steps were seen: %s, want %s", n, got, want[n])
		}
	}
	asked := append(slices.Clone(all[:6]), trace.Frame{Point: 2, Out: true, ARP: 1})
	if got := brokenAt(asked, registry.Relay); !slices.Equal(got, []path.Hop{path.Guest}) {
		t.Errorf("ARP without a reply: %v", got)
	}
}

// What the namespace hands on is one connection from the proxy to the guest.
func TestBrokenAtOfOneConnection(t *testing.T) {
	dnat := []trace.Frame{
		{Point: 0, Out: true, Flags: 2}, {Point: 1, Flags: 2}, {Point: 2, Out: true, Flags: 2}, {Point: 2, Answer: true, Flags: 18},
		{Point: 1, Answer: true, Out: true, Flags: 18}, {Point: 0, Answer: true, Flags: 18},
		{Point: 0, Out: true, Flags: 16, Len: 9}, {Point: 1, Flags: 16, Len: 9}, {Point: 2, Out: true, Flags: 16, Len: 9}, {Point: 2, Answer: true, Flags: 16, Len: 9},
		{Point: 1, Answer: true, Out: true, Flags: 16, Len: 9}, {Point: 0, Answer: true, Flags: 16, Len: 9},
	}
	fused := []trace.Frame{dnat[2], dnat[3], dnat[8], dnat[9]}
	for shape, c := range map[registry.Shape]struct {
		all  []trace.Frame
		want []string
	}{
		registry.DNAT:  {dnat, []string{"relay", "relay", "relay tap", "guest envd", "relay", "relay", "proxy relay", "relay", "relay tap", "guest envd", "relay", "relay", "proxy"}},
		registry.Fused: {fused, []string{"tap", "guest envd", "proxy tap", "guest envd", "proxy tap"}},
	} {
		for n, want := range c.want {
			var names []string
			for _, h := range brokenAt(c.all[:n], shape) {
				names = append(names, string(h))
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%s, %d steps were seen: %s, want %s", shape, n, got, want)
			}
		}
	}
}

func TestExpectedOfRandom(t *testing.T) {
	broken := func(at path.Hop) path.Diagnosis {
		return path.Diagnosis{State: path.Broken, Hops: []path.HopState{{Hop: at, State: path.Broken}}, Findings: []path.Finding{{}}}
	}
	fine := path.Diagnosis{State: path.OK}
	for name, c := range map[string]struct {
		asked, answered int
		d               path.Diagnosis
		right           bool
	}{
		"answered, ok":              {9, 9, fine, true},
		"answered, broken":          {9, 9, broken(path.Tap), false},
		"nothing answered, there":   {9, 0, broken(path.Tap), true},
		"nothing answered, nearby":  {9, 0, broken(path.Guest), false},
		"nothing answered, ok":      {9, 0, fine, false},
		"some answered, found":      {9, 3, broken(path.Relay), true},
		"some answered, none found": {9, 3, fine, false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, wrong := expected(c.asked, c.answered, []path.Hop{path.Tap}, c.d); (wrong == "") != c.right {
				t.Errorf("%q", wrong)
			}
		})
	}
}
