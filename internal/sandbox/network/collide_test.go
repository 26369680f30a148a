package network

import (
	"net/netip"
	"strings"
	"testing"

	"tapwatch/internal/e2b"
)

// Slots keep away from the host's own networks; where nothing is left, that is said.
func TestSlotsKeepAwayFromTheHostsNetworks(t *testing.T) {
	for name, c := range map[string]struct {
		prefix string
		taken  map[int]bool
		none   bool
	}{
		"another network":      {"192.168.1.5/24", map[int]bool{1: false, 300: false}, false},
		"one address":          {"10.12.0.3/32", map[int]bool{1: true, 2: false}, false},
		"a part of them":       {"10.12.0.9/24", map[int]bool{1: true, 127: true, 128: false}, false},
		"of the other range":   {"10.11.1.1/24", map[int]bool{255: false, 256: true, 511: true, 512: false}, false},
		"all of them":          {"10.12.3.4/16", map[int]bool{1: true, e2b.MaxIndex: true}, true},
		"wider than all slots": {"10.12.0.5/8", map[int]bool{1: false, 2: true, 3: false}, false},
	} {
		h := hostNets{{"eth0", netip.MustParsePrefix(c.prefix)}}
		for i, want := range c.taken {
			if got := h.taken(Slot{i}); (got != "") != want {
				t.Errorf("%s: slot %d is taken by %q", name, i, got)
			}
		}
		err := h.leave(1)
		if (err != nil) != c.none || err != nil && !strings.Contains(err.Error(), c.prefix+" on eth0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
