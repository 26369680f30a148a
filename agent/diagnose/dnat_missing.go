package diagnose

import (
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var dnatMissing = Check{
	Code:      "dnat-missing",
	Title:     "No rule in the namespace passes the path on to the guest (DNAT)",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down", "relay-wrong-address"},
	Run: func(f path.Facts) Result {
		foreign := f.Sandbox.Shape == "" && f.Relay.Listening == path.No && f.Relay.Actual == ""
		if f.Inside.MissingDNAT != path.Yes || f.Sandbox.Shape != registry.DNAT && !foreign {
			return notApplicable()
		}
		if f.Assumed {
			return unsure("no rule passes on what comes for the addresses that the name of " + f.Netns + " leads to expect, and no others are known")
		}
		finding := path.Finding{
			Cause:    where(f) + " has no rule that passes what comes for the sandbox on to " + f.Device.GuestAddr + ": the kernel there resets it, or sends it back",
			Evidence: []string{"no chain at prerouting in " + where(f) + ", of nftables or iptables, gives it another destination"},
			Fix:      "look at the rules (" + in(f) + "nft list ruleset, or iptables-save) and put the one back that sends what comes in by " + vpeer(f) + " on to " + f.Device.GuestAddr + " (dnat to " + f.Device.GuestAddr + "); or " + slotAnew(f),
		}
		if foreign {
			finding.Cause = "nothing in " + where(f) + " takes what the proxy sends: no relay listens there, and no rule passes it on (DNAT)"
			finding.Evidence = append(finding.Evidence, listenerEvidence("in "+where(f), f.Relay)...)
		}
		return wrong(finding)
	},
}
