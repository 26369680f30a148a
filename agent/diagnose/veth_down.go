package diagnose

import (
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
		if v.Peer == "" { // it has gone, and its name with it
			v.Peer = "eth0"
		}
		which := v.Host + " on the host"
		fix := "ip link set " + v.Host + " up, and its route to the namespace again"
		if v.HostUp != path.No {
			which = v.Peer + " in " + where(f)
			fix = ip(f) + " link set " + v.Peer + " up, and its default route again"
		}
		return wrong(path.Finding{
			Cause: "the veth pair is cut: " + which + " is down, or not there: nothing from the proxy reaches the namespace",
			Evidence: []string{fmt.Sprintf("%s on the host up: %s; %s in %s up, with carrier: %s",
				v.Host, v.HostUp, v.Peer, where(f), v.PeerUp)},
			Fix: fix + "; or make the slot anew",
		})
	},
}
