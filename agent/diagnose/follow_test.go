package diagnose

import (
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// askedOf is what came of late of what was asked of one point.
func askedOf(answered int, failed map[path.Outcome]int, good time.Duration) path.Asked {
	a := path.Asked{Ended: answered, By: failed, Last: now.Add(-100 * time.Millisecond)}
	for _, n := range failed {
		a.Ended += n
		a.Failed += n
	}
	if good > 0 {
		a.Good = now.Add(-good)
	}
	return a
}

func waiting(a path.Asked, age time.Duration, w path.Wait) path.Asked {
	w.Since = now.Add(-age)
	a.Waits = append(a.Waits, w)
	return a
}

func well(a path.Asked, since time.Duration) path.Asked {
	a.Well = now.Add(-since)
	return a
}

func requests(relay, guest path.Asked) func(*path.Facts) {
	return func(f *path.Facts) { f.Requests = &path.Requests{Relay: relay, Guest: guest} }
}

func lossAt(hop path.Hop, after, before string) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Loss = &path.Loss{Time: now, After: after, Before: before, Hop: hop, What: "SYNs", Count: 3, Of: 3, Evidence: []string{"3 of 3 SYNs were seen at " + after + ", none at " + before}}
	}
}

// The last SYN of a healthy path is an old one.
func askedLately(f *path.Facts) { f.Traffic.LastEnvdSYN, f.Traffic.LastEnvdSYNACK = now, now }

type fails = map[path.Outcome]int

func TestVerdictFollowsRequests(t *testing.T) {
	nothing, fine := path.Asked{}, askedOf(9, nil, 200*time.Millisecond)
	for _, c := range []struct {
		name  string
		facts path.Facts
		want  string
		hop   path.Hop
	}{
		{"all is well", changed(requests(fine, fine)), "ok: ok ok ok ok ok []", ""},
		{"the relay refuses, and is said to listen", changed(requests(askedOf(0, fails{path.Refused: 5}, 0), nothing)), "broken: ok broken ok ok ok [unexplained]", path.Relay},
		{"nothing comes to the relay", changed(requests(waiting(nothing, 2*time.Second, path.Wait{Connecting: true}), nothing)), "broken: ok broken ok ok ok [unexplained]", path.Relay},
		{"what waits has not waited long", changed(requests(waiting(nothing, time.Second, path.Wait{Connecting: true}), nothing)), "ok: ok ok ok ok ok []", ""},
		{"the relay closes, for the guest refuses", changed(requests(askedOf(0, fails{path.Closed: 5}, 0), askedOf(0, fails{path.Refused: 5}, 0))), "broken: ok ok ok ok broken [unexplained]", path.Envd},
		{"the relay closes, and asks nobody", changed(requests(askedOf(0, fails{path.Closed: 5}, 0), nothing)), "broken: ok ok broken ok ok [unexplained]", path.Tap},
		{"the relay closes, though the guest answers", changed(requests(askedOf(0, fails{path.Closed: 5}, 0), fine)), "broken: ok broken ok ok ok [unexplained]", path.Relay},
		{"envd answers with errors", changed(requests(fine, askedOf(0, fails{path.ServerError: 9}, 0))), "broken: ok ok ok ok broken [unexplained]", path.Envd},
		{"who answers is no envd", changed(requests(fine, askedOf(0, fails{path.NotHTTP: 9}, 0))), "broken: ok ok ok ok broken [unexplained]", path.Envd},
		{"answers vanish behind the tap", changed(askedLately, requests(nothing, waiting(nothing, 2*time.Second, path.Wait{Connecting: true, Left: true}))), "broken: ok broken ok ok ok [unexplained]", path.Relay},
		{"nothing comes to the tap", changed(func(f *path.Facts) { f.Traffic.LastEnvdSYN = now.Add(-time.Minute) }, requests(nothing, waiting(nothing, 2*time.Second, path.Wait{Connecting: true}))), "broken: ok ok broken ok ok [unexplained]", path.Tap},
		{"a request does not leave the relay", changed(askedLately, requests(nothing, waiting(nothing, 2*time.Second, path.Wait{}))), "broken: ok ok broken ok ok [unexplained]", path.Tap},
		{"one still waits from before others were answered", changed(requests(waiting(well(fine, 8*time.Second), 9*time.Second, path.Wait{Connecting: true}), fine)), "ok: ok ok ok ok ok []", ""},
		{"all wait that began after others were answered", changed(requests(waiting(well(nothing, 8*time.Second), 7*time.Second, path.Wait{Connecting: true}), fine)), "broken: ok broken ok ok ok [unexplained]", path.Relay},
		{"it was looked for where packets are lost", changed(requests(askedOf(0, fails{path.Lost: 3}, 0), nothing), lossAt(path.Tap, "eth0", "tap0")), "broken: ok ok broken ok ok [unexplained]", path.Tap},
		{"a check says why", changed(vmmDead, requests(nothing, askedOf(0, fails{path.Lost: 3}, 0))), "broken: ok ok broken unknown unknown [vmm-exited]", path.Tap},
		{"a third fails", changed(requests(askedOf(6, fails{path.Lost: 3}, 100*time.Millisecond), nothing)), "ok: ok ok ok ok ok [degraded]", path.Relay},
		{"a third fails, at the relay alone", changed(requests(askedOf(6, fails{path.Refused: 3}, 100*time.Millisecond), fine)), "ok: ok ok ok ok ok [degraded]", path.Relay},
		{"some fail, and one waits long", changed(requests(nothing, waiting(askedOf(6, fails{path.Refused: 3}, 20*time.Second), 9*time.Second, path.Wait{Acked: true}))), "unknown: ok ok ok ok unknown [degraded]", path.Envd},
		{"an XDP program takes what the guest answers", changed(requests(nothing, askedOf(0, fails{path.Lost: 9}, 0)), lossAt(path.Guest, "tap0", "the guest"), func(f *path.Facts) { f.Rules.NotJudged = []string{path.XDPOn("tap0")} }), "broken: ok ok broken ok ok [unexplained]", path.Tap},
		{"one of many fails", changed(requests(askedOf(600, fails{path.Lost: 1}, 100*time.Millisecond), nothing)), "ok: ok ok ok ok ok []", ""},
		{"what failed is long ago", changed(func(f *path.Facts) {
			a := askedOf(0, fails{path.Lost: 3}, 0)
			a.Last = now.Add(-2 * time.Minute)
			requests(a, nothing)(f)
		}), "ok: ok ok ok ok ok []", ""},
		{"a boot may fail", changed(booting, neverAttached, requests(askedOf(0, fails{path.Refused: 5}, 0), nothing)), "booting: ok ok booting unknown unknown []", ""},
		{"a taken request waits long", changed(requests(nothing, waiting(nothing, 9*time.Second, path.Wait{Left: true, Acked: true}))), "unknown: ok ok ok ok unknown []", ""},
		{"the relay has taken one and asks nobody", changed(requests(waiting(nothing, 9*time.Second, path.Wait{Left: true, Acked: true}), nothing)), "unknown: ok unknown ok ok ok []", ""},
		{"one waits long, and others are answered", changed(requests(nothing, waiting(fine, 9*time.Second, path.Wait{Left: true, Acked: true}))), "ok: ok ok ok ok ok []", ""},

		{"what is inferred of a hop that nothing comes to", changed(guestMute, requests(nothing, askedOf(0, fails{path.Lost: 9}, 0)), lossAt(path.Tap, "the relay", "tap0")), "broken: ok ok broken unknown unknown [unexplained]", path.Tap},
		{"a rule, whose loss was measured behind it", changed(func(f *path.Facts) { f.Rules.Drops = []string{"one"} }, requests(nothing, askedOf(0, fails{path.Lost: 9}, 0)), lossAt(path.Tap, "the relay", "tap0")), "broken: ok ok broken ok ok [rule-drops]", path.Tap},
		{"a rule, whose loss was measured before it", changed(func(f *path.Facts) { f.Rules.Drops = []string{"one"} }, requests(askedOf(0, fails{path.Lost: 9}, 0), nothing), lossAt(path.Proxy, "veth-7", "the proxy")), "broken: broken unknown ok ok ok [rule-drops]", path.Proxy},
		{"drops where requests are lost", changed(dropping("TC_EGRESS", 30, 0.7), requests(nothing, askedOf(0, fails{path.Lost: 9}, 0)), lossAt(path.Tap, "the relay", "tap0")), "broken: ok ok broken ok ok [tap-drops]", path.Tap},
		{"what is inferred, while requests pass", changed(addressGone, requests(fine, fine)), "ok: ok ok ok ok ok [tap-address]", path.Tap},
		{"what is inferred, while nobody asks", changed(addressGone), "broken: ok ok broken unknown unknown [tap-address]", path.Tap},
		{"what is inferred, while requests fail", changed(addressGone, requests(askedOf(0, fails{path.Closed: 5}, 0), askedOf(0, fails{path.Lost: 5}, 0))), "broken: ok ok broken unknown unknown [tap-address]", path.Tap},
		{"what the kernel told just now", changed(relayGone, requests(fine, fine)), "broken: ok broken ok ok ok [relay-not-listening]", path.Relay},
		{"a proxy that nobody sees", changed(proxyGone, requests(fine, fine)), "broken: broken ok ok ok ok [proxy-not-listening]", path.Proxy},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Run(c.facts)
			if got := summary(d); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if len(d.Findings) > 0 && d.Findings[0].Hop != c.hop {
				t.Errorf("at %s, want %s", d.Findings[0].Hop, c.hop)
			}
		})
	}
}

// An answer that comes well after a finding proves that requests pass; one from
// elsewhere than behind the hop does not.
func TestAnswersAfterAFinding(t *testing.T) {
	ago := func(d time.Duration) map[string]time.Time {
		return map[string]time.Time{"relay-not-listening": now.Add(-d), "rule-drops": now.Add(-d)}
	}
	fine, nothing := askedOf(9, nil, 200*time.Millisecond), path.Asked{}
	rule := func(f *path.Facts) { f.Rules.Drops = []string{"one"} }
	for name, c := range map[string]struct {
		facts path.Facts
		known map[string]time.Time
		want  path.Severity
	}{
		"before it":                        {changed(relayGone, requests(fine, fine)), ago(100 * time.Millisecond), path.Critical},
		"soon after it":                    {changed(relayGone, requests(fine, fine)), ago(700 * time.Millisecond), path.Critical},
		"after it":                         {changed(relayGone, requests(fine, fine)), ago(5 * time.Second), path.Warning},
		"after it, to those behind it":     {changed(relayGone, requests(nothing, fine)), ago(5 * time.Second), path.Critical},
		"in a path without a relay":        {changed(rule, shape(registry.Fused), requests(nothing, fine)), ago(5 * time.Second), path.Warning},
		"after it, and now they fail":      {changed(relayGone, requests(askedOf(1, fails{path.Refused: 4}, time.Second), fine)), ago(5 * time.Second), path.Critical},
		"a rule that is judged to drop it": {changed(rule, requests(fine, fine)), ago(5 * time.Second), path.Warning},
	} {
		t.Run(name, func(t *testing.T) {
			d := Checks.RunKnowing(c.facts, c.known)
			if len(d.Findings) != 1 || d.Findings[0].Severity != c.want || (d.State == path.Broken) != (c.want == path.Critical) {
				t.Errorf("%s: %+v", summary(d), d.Findings)
			}
		})
	}
}

func TestUnexplainedSaysWhatIsKnown(t *testing.T) {
	relay := waiting(askedOf(1, fails{path.Lost: 2}, 4*time.Second), 2*time.Second, path.Wait{Connecting: true})
	d := Run(changed(requests(relay, path.Asked{}), lossAt(path.Relay, "veth-7", "eth0 in ns-7")))
	f := d.Findings[0]
	all := f.Cause + "\n" + strings.Join(f.Evidence, "\n")
	for _, want := range []string{
		"SYNs vanish between veth-7 and eth0 in ns-7",
		"of the last 4 requests to the relay at port 49983, 3 failed: 2 not acknowledged, 1 not acknowledged for 2s; the last that was answered: 4s ago",
		"3 of 3 SYNs were seen at veth-7, none at eth0 in ns-7",
		"found right: proxy (listens); relay (listens)",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
}

// TestLookWherePacketsAreLost: what is to be looked at lies between the two points that
// were measured.
func TestLookWherePacketsAreLost(t *testing.T) {
	for name, tt := range map[string]struct {
		f        path.Facts
		has, not string
	}{
		"on the host":                 {changed(lossAt(path.Relay, "the proxy", "veth-7 on the host")), "the SYNs between the proxy and veth-7 on the host: nft list ruleset; ip rule; tc -s qdisc show dev veth-7", "netns exec"},
		"in the namespace":            {changed(lossAt(path.Tap, "eth0 in ns-7", "tap0 in ns-7")), "ip netns exec ns-7 tc filter show dev tap0 egress", "veth-7"},
		"from one to the other":       {changed(lossAt(path.Relay, "veth-7 on the host", "eth0 in ns-7")), "tc filter show dev veth-7 egress; ip netns exec ns-7 nft list ruleset; ip -n ns-7 rule; ip netns exec ns-7 tc -s qdisc show dev eth0", "tap0"},
		"in the guest":                {changed(lossAt(path.Guest, "tap0 in ns-7", "the guest")), "read the guest's console (tapwatch sandbox logs i1)", "nft list ruleset; ip rule"},
		"where nothing was measured":  {changed(), "nft list ruleset; tc filter show dev veth-7 ingress, on the host", "between"},
		"between programs, no device": {changed(lossAt(path.Relay, "the proxy", "the relay")), "look at what the host and the namespace do", "between"},
	} {
		hop := path.Relay
		if tt.f.Loss != nil {
			hop = tt.f.Loss.Hop
		}
		if got := lookFix(tt.f, hop); !strings.Contains(got, tt.has) || strings.Contains(got, tt.not) {
			t.Errorf("%s: want %q and no %q:\n%s", name, tt.has, tt.not, got)
		}
	}
}

// What the kernel says that it dropped is evidence wherever packets are lost; unknown is
// said.
func TestDroppedIsEvidence(t *testing.T) {
	failing := requests(path.Asked{}, askedOf(0, fails{path.Refused: 5}, 0))
	dropped := func(f *path.Facts) {
		f.Dropped = []path.Dropped{
			{Last: now.Add(-time.Second), At: "tap0 in ns-1", Back: true, Reason: "NETFILTER_DROP", Function: "nf_hook_slow", Count: 3},
			{Last: now.Add(-time.Second), At: "in ns-1", Reason: "TC_EGRESS", Count: 2},
		}
	}
	const (
		back = "the kernel dropped 3 packets from port 49983 (tap0 in ns-1) in its function nf_hook_slow, for the reason NETFILTER_DROP, the last 1s ago"
		out  = "the kernel dropped 2 packets to port 49983 (in ns-1) in its function (unknown), for the reason TC_EGRESS, the last 1s ago"
	)
	for _, c := range []struct {
		name  string
		facts path.Facts
		code  string
		want  string
	}{
		{"back", changed(failing, dropped), "unexplained", back},
		{"out", changed(failing, dropped), "unexplained", out},
		{"the tap's own reason", changed(dropping("TC_EGRESS", 30, 0.7), dropped), "tap-drops", out},
	} {
		d := Run(c.facts)
		if len(d.Findings) != 1 || d.Findings[0].Code != c.code || strings.Count(strings.Join(d.Findings[0].Evidence, "\n"), c.want) != 1 {
			t.Errorf("%s: %+v", c.name, d.Findings)
		}
	}
	if d := Run(changed(dropped)); len(d.Findings) != 0 {
		t.Errorf("drops alone are no finding: %+v", d.Findings)
	}
}
