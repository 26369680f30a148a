package metrics

import (
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Budget is how many series a sandbox may have that works, in every shape and whatever is
// known of it.
const budget = 25

// TestBudget counts the series of a sandbox of which all is known. What it has beyond
// those of one that works says what is wrong: a finding, a reason to drop frames.
func TestBudget(t *testing.T) {
	zero := uint64(0)
	for _, shape := range []registry.Shape{registry.Relay, registry.Fused, registry.DNAT} {
		s := fleet(0, 1)
		s.Gone = nil
		v := *s.Slots[0]
		v.Sandbox = &path.Sandbox{ID: "i1", Name: "n", Shape: shape, Since: v.Sandbox.Since}
		v.Device.Holders = []path.Holder{{Command: "firecracker"}}
		v.Traffic = &path.Traffic{Retransmits: &zero, HiddenReceive: &zero, HiddenTransmit: &zero}
		v.Seen = map[path.Hop]path.Seen{path.Relay: {Good: v.Sandbox.Since}, path.Envd: {Good: v.Sandbox.Since}}
		v.Requests = &path.Requests{Totals: path.Totals{path.Answered: 9, path.Unused: 1, path.GaveUp: 1, path.Refused: 1}}
		s.Slots[0] = &v
		for _, detail := range []bool{false, true} {
			s.Detail = detail
			var b strings.Builder
			if err := writeSlots(&b, s, false); err != nil {
				t.Fatal(err)
			}
			series := slices.DeleteFunc(strings.Split(b.String(), "\n"), func(l string) bool { return l == "" || l[0] == '#' })
			if !detail && len(series) > budget {
				t.Errorf("%s: %d series, want %d at most:\n%s", shape, len(series), budget, strings.Join(series, "\n"))
			}
			if detail && len(series) <= budget {
				t.Errorf("%s: --metrics-detail gives %d series only", shape, len(series))
			}
		}
	}
}
