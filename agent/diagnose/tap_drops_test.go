package diagnose

import "testing"

func TestTapDrops(t *testing.T) {
	foreign := dropping("TC_EGRESS", 30, 0.7)
	tryCheck(t, tapDrops, []look{
		{"no drops", healthy(), "beside", nil},
		{"no hooks", changed(noHooks), "beside", nil},
		{"another's program", changed(foreign), "problem", []string{"at tap0, 30 so far: by a tc program at the tap (TC_EGRESS)", "dropped 30 frames to the guest for the reason TC_EGRESS, the last 700ms ago", "tc filter show dev tap0 egress"}},
		{"a rate limit", changed(dropping("QDISC_DROP", 3, 2)), "problem", []string{"tc -s qdisc show dev tap0"}},
		{"a packet filter", changed(dropping("NETFILTER_DROP", 3, 2)), "problem", []string{"nft -a list ruleset"}},
		{"two reasons", changed(dropping("SKB_UCOPY_FAULT", 2, 1), foreign), "problem", []string{"for the reason SKB_UCOPY_FAULT, by a tc program at the tap (TC_EGRESS)", "kfree_skb, for the location of SKB_UCOPY_FAULT"}},
		{"a while ago", changed(dropping("TC_EGRESS", 30, 11)), "beside", nil},
		{"a full queue", changed(dropping("FULL_RING", 30, 1)), "beside", nil},
		{"nobody answered ARP", changed(dropping("NEIGH_FAILED", 3, 1)), "beside", nil},
		{"the VMM asked for it", changed(dropping("TAP_TXFILTER", 3, 1)), "beside", nil},
		{"without a reason", changed(dropping("NOT_SPECIFIED", 3, 1)), "beside", nil},
		{"without carrier", changed(dropping("QDISC_DROP", 3, 1), vmmDead), "suppressed", []string{"vmm-exited"}},
		{"by a rule that is known", changed(dropping("NETFILTER_DROP", 3, 1), filtered), "suppressed", []string{"rule-drops"}},
		{"behind a VMM that is stopped", changed(foreign, stopped), "suppressed", []string{"vmm-stopped"}},
	})
	if got, want := summary(Run(changed(foreign))), "ok: ok ok ok ok ok [tap-drops]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
