package discover

import (
	"testing"

	"tapwatch/agent/identity"
)

func TestGroupsAreBounded(t *testing.T) {
	g := groups{most: 2}
	of := func(team, tier string) identity.Identity {
		return g.bounded(identity.Identity{Team: team, Labels: map[string]string{"tier": tier}})
	}
	for _, c := range []struct{ team, tier, wantTeam, wantTier string }{
		{"a", "x", "a", "x"},
		{"b", "x", "b", "x"},
		{"c", "y", Other, "y"},
		{"a", "z", "a", Other},
		{"", "x", "", "x"},
	} {
		if got := of(c.team, c.tier); got.Team != c.wantTeam || got.Labels["tier"] != c.wantTier {
			t.Errorf("%s and %s became %s and %s, want %s and %s", c.team, c.tier, got.Team, got.Labels["tier"], c.wantTeam, c.wantTier)
		}
	}
	if id := g.bounded(identity.Identity{}); id.Labels != nil {
		t.Error("labels where there are none")
	}
}
