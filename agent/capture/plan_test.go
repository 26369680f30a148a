package capture

import (
	"strings"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// TestPlanOf: in each shape the devices that packets pass, and the neighbours between
// which the same packets do.
func TestPlanOf(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	cookie, err := netns.CookieOf(netns.Path(ns))
	must(t, err)
	slot := func(shape registry.Shape, host, peer string) path.Slot {
		return path.Slot{Facts: path.Facts{Netns: ns, Cookie: cookie, Device: path.Device{Name: "tap0"}, Veth: path.Veth{Host: host, Peer: peer}, Sandbox: &path.Sandbox{Shape: shape}}}
	}
	onHost := slot("bridged", "", "")
	onHost.Host, onHost.Netns = true, "host"
	for name, c := range map[string]struct {
		slot          path.Slot
		points, pairs int
	}{
		"relay":   {slot(registry.Relay, "veth-1", "eth0"), 3, 1},
		"dnat":    {slot(registry.DNAT, "veth-1", "eth0"), 3, 2},
		"fused":   {slot(registry.Fused, "veth-1", "eth0"), 3, 1},
		"unknown": {slot("", "veth-1", "eth0"), 3, 1}, // what passes the namespace is not known
		"no veth": {slot(registry.Relay, "", ""), 1, 0},
		"host":    {onHost, 1, 0},
	} {
		p, err := PlanOf(c.slot)
		if err != nil || len(p.Points) != c.points || len(p.Pairs) != c.pairs {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	another := slot(registry.Relay, "", "")
	another.Cookie++
	if _, err := PlanOf(another); err == nil || !strings.Contains(err.Error(), "it has gone") {
		t.Errorf("a namespace of the same name that is another: %v", err)
	}
	none := slot(registry.Relay, "", "")
	none.Device.Name = ""
	if _, err := PlanOf(none); err == nil {
		t.Error("there is no tap")
	}
}
