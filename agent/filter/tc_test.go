package filter

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tapwatch/internal/nettest"
)

// What is on a device beside netfilter is said, by its kind; what is ours is not.
func TestOnDevices(t *testing.T) {
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	tc := func(args string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "tc", append([]string{"-n", ns}, strings.Fields(args)...)...).CombinedOutput()
		if err != nil {
			nettest.Unfit(t, "tc "+args+": "+string(out))
		}
	}
	want := func(want ...string) {
		t.Helper()
		nettest.In(t, ns, func() error {
			got, err := OnDevices(func(name string) bool { return name == "ours" }, "tap0", "", "none")
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
			return err
		})
	}
	want()
	tc("qdisc add dev tap0 clsact")
	want()
	tc("filter add dev tap0 ingress protocol ip u32 match u32 0 0 flowid 1:1")
	want("a tc filter on tap0 ingress (u32)")
}
