package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// goesOut is a slot whose launcher lets the guest out, with something done to it.
func goesOut(changes ...func(*path.Egress)) func(*path.Facts) {
	e := &path.Egress{
		As: "10.11.0.7", Forwards: path.Yes, HostForwards: path.Yes, Drops: []string{}, Translated: path.Yes,
		Route: path.Route{Asked: "192.0.2.1", Device: "ens5", Source: "198.51.100.4"},
	}
	for _, change := range changes {
		change(e)
	}
	return func(f *path.Facts) { f.Inside.Egress = e }
}

func hostDoesNotForward(e *path.Egress) { e.HostForwards = path.No }

func TestNoEgress(t *testing.T) {
	drops := "chain FORWARD of table filter (iptables-legacy) drops what the guest sends outside, by its policy"
	tryCheck(t, noEgress, []look{
		{"nobody lets it out", healthy(), "beside", nil},
		{"it gets out", changed(goesOut()), "beside", nil},
		{"nothing is known", changed(goesOut(func(e *path.Egress) { *e = path.Egress{As: "10.11.0.7"} })), "beside", nil},
		{"the namespace does not forward", changed(goesOut(func(e *path.Egress) { e.Forwards = path.No })), "problem", []string{"ns-7 does not forward"}},
		{"the host does not forward", changed(goesOut(hostDoesNotForward)), "problem", []string{"as 10.11.0.7", "net.ipv4.ip_forward is 0 on the host"}},
		{"no default route", changed(goesOut(func(e *path.Egress) {
			e.Route = path.Route{Asked: "192.0.2.1", Failed: "network is unreachable"}
		})), "problem", []string{"ip route get 192.0.2.1, on the host: network is unreachable"}},
		{"Docker's policy", changed(goesOut(func(e *path.Egress) { e.Drops = []string{drops} })), "problem", []string{drops, "by veth-7"}},
		{"nothing masquerades", changed(goesOut(func(e *path.Egress) { e.Translated = path.No })), "problem", []string{"no rule at postrouting translates 10.11.0.7 on its way out by ens5"}},
		{"nothing masquerades, and need not", changed(goesOut(func(e *path.Egress) { e.Translated, e.As = path.No, "198.51.100.9" })), "beside", nil},
		{"behind a veth that is down", changed(goesOut(hostDoesNotForward), vethCut), "suppressed", []string{"veth-down"}},
	})
	if d := Run(changed(goesOut(hostDoesNotForward))); d.State != path.OK || d.BrokenAt() != "" {
		t.Errorf("requests get through all the same: %s", summary(d))
	}
}
