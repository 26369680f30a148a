package diagnose

import "tapwatch/agent/path"

var guestNoReply = Check{
	Code:      "guest-no-reply",
	Title:     "The guest answers ARP, and nothing by IP",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"guest-no-arp"}, guestNoARP.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		if t == nil || synUnanswered(f) <= Patience || !t.LastARPReply.After(t.EnvdWaiting) || f.Inside.Replies != path.No {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: "the guest answers ARP for " + f.Device.GuestAddr + ", but has answered nothing by IP for " + inWords(synUnanswered(f)) + ": most likely it has no route back to " + f.Device.Addr + ", since it does not even refuse a closed port; else a firewall in it drops everything",
			Evidence: append(unansweredEvidence(f),
				"its last answer to ARP: "+ago(f.Now, t.LastARPReply)+", so its eth0 is up and has the address",
				"the guest did not answer a datagram to a closed port, as its kernel would by ICMP"),
			Fix: "read the guest's console (" + logs(f) + "), and " + lookInside(f, "its route back (ip route get "+f.Device.Addr+"; the address of eth0 needs its prefix, "+prefixed(f.Device.GuestAddr)+", not /32), then its packet filter (nft list ruleset)"),
		})
	},
}
