package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var vethNeighbour = Check{
	Code:      "veth-neighbour",
	Title:     "Host and namespace do not know each other's hardware address",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down", "host-route", "return-route"},
	Run: func(f path.Facts) Result {
		v := f.Veth
		if f.Sandbox.Shape == registry.Fused {
			return notApplicable()
		}
		if r := wrongEntry(f, f.Inside.Vpeer, v.MAC, end{v.Host, "on the host", "ip"}, end{v.Peer, "in " + where(f), ip(f)}); r.verdict == problem {
			return r
		}
		return wrongEntry(f, f.Inside.Client, v.HostMAC, end{v.Peer, "in " + where(f), ip(f)}, end{v.Host, "on the host", "ip"})
	},
}

// end is one of a veth pair: its name, where it is, and the command for that namespace.
type end struct{ device, where, ip string }

func (e end) String() string { return e.device + " " + e.where }

// wrongEntry judges what one end knows of the other, whose hardware address is mac.
func wrongEntry(f path.Facts, n *path.Neighbour, mac string, at, of end) Result {
	noARP := f.Veth.HostNoARP || f.Veth.NoARP
	if n == nil || mac == "" || n.MAC == mac || n.MAC == "" && !noARP {
		return notApplicable()
	}
	finding := path.Finding{Evidence: []string{neighbourEvidence(at.device, at.where, n)}}
	if noARP && n.State != permanent {
		finding.Cause = fmt.Sprintf("ARP is switched off on the veth pair: %s cannot learn the hardware address of %s", at, of)
		finding.Fix = fmt.Sprintf("%s link set %s arp on; %s link set %s arp on", at.ip, at.device, of.ip, of.device)
		return wrong(finding)
	}
	finding.Cause = fmt.Sprintf("frames from %s for %s go to %s, but %s is %s, and drops them", at, n.Addr, n.MAC, of, mac)
	finding.Fix = fmt.Sprintf("%s neigh del %s dev %s: the kernel asks by ARP then; see who set the entry", at.ip, n.Addr, at.device)
	if n.State != permanent { // the kernel asks anew within a minute or so
		finding.Severity = path.Warning
	}
	return wrong(finding)
}
