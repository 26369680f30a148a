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
	Loses:     true,
	DependsOn: slices.Concat([]string{"host-rule-drops", "rule-drops", "guest-silent"}, guestFaults),
	Last:      true,
	Run: func(f path.Facts) Result {
		if f.Traffic == nil {
			return notApplicable()
		}
		var reasons, words, ev []string
		n := uint64(0)
		for _, reason := range slices.Sorted(maps.Keys(f.Traffic.LastDrops)) {
			if !explained(f, reason) && droppedLately(f, reason) {
				reasons, words, ev = append(reasons, reason), append(words, droppedBy(reason)), append(ev, dropsOf(f, reason))
				n += f.Traffic.TransmitDrops[reason]
			}
		}
		if len(reasons) == 0 {
			return notApplicable()
		}
		for _, d := range f.Dropped { // where in the kernel
			if !d.Back && slices.Contains(reasons, d.Reason) {
				ev = append(ev, droppedWords(f, d))
			}
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("the kernel drops frames to the guest at %s, %d so far: %s", f.Device.Name, n, strings.Join(words, ", ")),
			Evidence: ev,
			Fix:      againstDrops(f, reasons[0]),
		})
	},
}

// droppedBy says what drops frames for a reason of the kernel's.
func droppedBy(reason string) string {
	by := map[string]string{"TC_EGRESS": "a tc program at the tap", "NETFILTER_DROP": "a packet filter", "QDISC_DROP": "the queueing discipline",
		"QDISC_OVERLIMIT": "the queueing discipline", "QDISC_CONGESTED": "the queueing discipline"}[reason]
	if by == "" {
		return "for the reason " + reason
	}
	return "by " + by + " (" + reason + ")"
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
		return "a program that somebody attached to the tap drops them: " + inside + "tc filter show dev " + f.Device.Name + " egress, and " + inside + "bpftool net; take it out, or let it pass them"
	case "QDISC_DROP", "QDISC_OVERLIMIT", "QDISC_CONGESTED":
		return "the queueing discipline drops them: " + inside + "tc -s qdisc show dev " + f.Device.Name + "; raise its rate or its limit, or send less"
	case "NETFILTER_DROP":
		return "a packet filter drops them: " + inside + "nft -a list ruleset (or iptables-save) shows the rule; take it out"
	}
	return "see where: perf trace -e skb:kfree_skb, for the location of " + reason + "; " + inside + "ip -s link show " + f.Device.Name
}
