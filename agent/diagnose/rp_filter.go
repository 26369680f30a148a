package diagnose

import "tapwatch/agent/path"

var rpFilter = Check{
	Code:      "rp-filter",
	Title:     "Packets of the path are dropped for their source address (rp_filter)",
	Hop:       path.Relay,
	Fused:     path.Tap,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: []string{"veth-down", "host-route", "return-route", "input-route"},
	Run: func(f path.Facts) Result {
		var ev []string
		refused := func(what, where string, r path.Route) {
			if r.SourceRefused {
				ev = append(ev, what+" is refused: "+routeEvidence(where, r))
			}
		}
		inside := "in " + where(f)
		refused("what the namespace answers", "on the host", f.Inside.FromNamespace)
		refused("what the proxy sends", inside, f.Inside.FromClient)
		refused("what the guest answers", inside, f.Inside.FromGuest)
		if len(ev) == 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "the kernel drops packets of the path for their source (rp_filter): an answer to it would leave by another device than they came by",
			Evidence: append(ev, "the kernel counts them as IPReversePathFilter in /proc/net/netstat"),
			Fix:      "correct the route or rule that leads elsewhere (ip rule; ip route get, as above, with the addresses swapped), or set net.ipv4.conf.{all,DEVICE}.rp_filter to 0 or 2 there",
		})
	},
}
