package agent

import (
	"testing"
	"time"

	"tapwatch/agent/identity"
	"tapwatch/agent/path"
)

// The silence that a rule of the operator sets reaches the state of its taps.
func TestSilenceOfARuleIsKept(t *testing.T) {
	until := time.Now().Add(time.Hour).UTC()
	set, err := Rules{Identity: []identity.Rule{{
		Name: "move", Match: identity.Match{Netns: "^ns-7$"}, Set: identity.Result{Silence: identity.RuleSilence{Until: until, Reason: "rack 7 moves"}},
	}}}.compile()
	if err != nil {
		t.Fatal(err)
	}
	id := set.Identify(identity.Facts{Netns: "ns-7", Device: "tap0"})
	if got, want := identityOf(&id).Silence, (path.Silence{Until: until, Reason: "rack 7 moves"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
