package diagnose

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"tapwatch/agent/path"
)

var tapDrops = Check{
	Code:      "tap-drops",
	Title:     "The kernel drops frames to the guest",
	Hop:       path.Tap,
	Severity:  path.Warning,
	DependsOn: slices.Concat([]string{"rule-drops", "guest-silent"}, guestFaults),
	Last:      true,
	Run: func(f path.Facts) Result {
		if f.Traffic == nil {
			return notApplicable()
		}
		var reasons, ev []string
		for _, reason := range slices.Sorted(maps.Keys(f.Traffic.LastDrops)) {
			if !explained(f, reason) && droppedLately(f, reason) {
				reasons, ev = append(reasons, reason), append(ev, dropsOf(f, reason))
			}
		}
		if len(reasons) == 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("frames to the guest are dropped at %s: %s", f.Device.Name, strings.Join(reasons, ", ")),
			Evidence: ev,
			Fix:      againstDrops(f, reasons[0]),
		})
	},
}

// explained says whether drops of that reason are another check's, or no loss to
// act upon: a neighbour that does not answer, a qdisc that is known to drop, frames that
// the VMM asked not to get, copies for a packet socket, and what the kernel gives no
// reason for.
func explained(f path.Facts, reason string) bool {
	if strings.HasPrefix(reason, "QDISC_") && tapQdisc.Run(f).verdict == problem {
		return true
	}
	return strings.HasPrefix(reason, "NEIGH_") ||
		slices.Contains([]string{fullRing, "TAP_TXFILTER", "PACKET_SOCK_ERROR", "NOT_SPECIFIED"}, reason)
}

// againstDrops is what to do about a reason.
func againstDrops(f path.Facts, reason string) string {
	inside := in(f)
	switch reason {
	case "TC_EGRESS":
		return "another's program drops them: " + inside + "tc filter show dev " + f.Device.Name + " egress, and " + inside + "bpftool net; take it out, or let it pass them"
	case "QDISC_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED":
		return "the queueing discipline drops them: " + inside + "tc -s qdisc show dev " + f.Device.Name + "; raise its rate or its limit, or send less"
	case "NETFILTER_DROP":
		return "a packet filter drops them: " + inside + "nft list ruleset (or iptables-save), and take the rule out"
	}
	return "see where: perf trace -e skb:kfree_skb, for the location of " + reason + "; " + inside + "ip -s link show " + f.Device.Name
}
