package diagnose

import (
	"net/netip"

	"tapwatch/agent/path"
)

var noEgress = Check{
	Code:      "no-egress",
	Title:     "The guest does not get out of the host",
	Hop:       path.Relay,
	Fused:     path.Tap,
	Severity:  path.Warning,
	DependsOn: []string{"veth-down", "host-route", "return-route", "no-default-route"},
	Run: func(f path.Facts) Result {
		e := f.Inside.Egress
		if e == nil {
			return notApplicable()
		}
		finding := path.Finding{Evidence: []string{"the rules of " + where(f) + " pass on what the guest begins, as " + e.As}}
		add := func(cause, evidence, fix string) Result {
			finding.Cause = "the guest does not get out: " + cause
			finding.Evidence = append(finding.Evidence, evidence)
			finding.Fix = fix
			return wrong(finding)
		}
		switch {
		case e.Forwards == path.No:
			return add(where(f)+" does not forward", "net.ipv4.ip_forward is 0 in "+where(f), in(f)+"sysctl -w net.ipv4.ip_forward=1: a namespace takes it from the host as it is made")
		case e.HostForwards == path.No:
			return add("the host does not forward", "net.ipv4.ip_forward is 0 on the host", "sysctl -w net.ipv4.ip_forward=1, and keep it in /etc/sysctl.d")
		case e.Route.Asked != "" && e.Route.Device == "":
			return add("the host has no default route", routeEvidence("on the host", e.Route), "give the host its default route back (ip route add default via ROUTER)")
		case len(e.Drops) > 0:
			finding.Evidence = append(finding.Evidence, e.Drops[1:]...)
			return add("a packet filter of the host drops it", e.Drops[0], "have the rules of the host accept what comes in by "+f.Veth.Host+" (iptables -I FORWARD -i "+f.Veth.Host+" -j ACCEPT, and -o for what comes back); Docker sets the policy of FORWARD to DROP, and leaves its chain DOCKER-USER for such rules")
		case e.Translated == path.No && private(e.As):
			return add("nothing on the host gives it an address of the host's", "no rule at postrouting translates "+e.As+" on its way out by "+e.Route.Device,
				"iptables -t nat -A POSTROUTING -s "+e.As+" -o "+e.Route.Device+" -j MASQUERADE, as the launcher does; right as it is where the network behind the host routes "+e.As)
		}
		return notApplicable()
	},
}

// private says whether an address is one that the Internet does not answer.
func private(addr string) bool {
	a, err := netip.ParseAddr(addr)
	return err == nil && a.IsPrivate()
}
