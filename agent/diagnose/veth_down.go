package diagnose

import (
	"cmp"
	"fmt"

	"tapwatch/agent/path"
)

var vethDown = Check{
	Code:     "veth-down",
	Title:    "The veth pair between the host and the namespace is down",
	Hop:      path.Relay,
	Severity: path.Critical,
	Run: func(f path.Facts) Result {
		v := f.Veth
		if v.HostUp != path.No && v.PeerUp != path.No {
			return notApplicable()
		}
		host, peer := cmp.Or(v.Host, "the host's end"), vpeer(f)
		which := host + " on the host"
		fix := "ip link set " + cmp.Or(v.Host, "VETH") + " up, then give it its route to the namespace again"
		if v.HostUp != path.No {
			which = peer + " in " + where(f)
			fix = ip(f) + " link set " + cmp.Or(v.Peer, "VPEER") + " up, then give " + where(f) + " its default route again"
		}
		return wrong(path.Finding{
			Cause: "the veth pair is cut: " + which + " is down, or not there: nothing from the proxy reaches the namespace",
			Evidence: []string{fmt.Sprintf("%s on the host is up: %s; %s in %s is up and has carrier: %s",
				host, v.HostUp, peer, where(f), v.PeerUp)},
			Fix: fix + "; or " + slotAnew(f),
		})
	},
}
