package identity

import (
	"strconv"
	"testing"

	"tapwatch/internal/e2b"
)

// TestE2BAgrees holds the preset to the plan that the rest of the agent has.
func TestE2BAgrees(t *testing.T) {
	s := set(t)
	for i := 1; i < 1<<20; i = i*3 + 1 {
		launcher, slot, ok := s.SlotOf(e2b.NamespaceName(i))
		if !ok || launcher != "e2b" || slot != strconv.Itoa(i) {
			t.Errorf("%s: %q %q %v", e2b.NamespaceName(i), launcher, slot, ok)
		}
	}
	for _, name := range []string{"", "ns-", "ns-0", "ns-01", "ns-x", "ns-1 ", "ns-123456789", "ns-1234567890", "ns-+1"} {
		if _, want := e2b.Index(name); s.Slot(name) != want {
			t.Errorf("%q: a slot by one of preset and plan alone", name)
		}
	}
	e := s.Identify(Facts{Netns: e2b.NamespaceName(1), Device: e2b.Tap}).Expect
	if e.Tap != e2b.Tap || e.TapAddress.Addr() != e2b.TapIP() || e.Guest != e2b.GuestIP() {
		t.Errorf("the preset expects %+v", e)
	}
}
