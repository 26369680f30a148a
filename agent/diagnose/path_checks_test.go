package diagnose

import (
	"strings"
	"testing"

	"tapwatch/agent/path"
)

func TestVethDown(t *testing.T) {
	tryCheck(t, vethDown, []look{
		{"up", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Veth = path.Veth{} }), "beside", nil},
		{"host's end", changed(vethCut), "problem", []string{"veth-7 on the host is down", "ip link set veth-7 up"}},
		{"namespace's end", changed(func(f *path.Facts) { f.Veth.PeerUp = path.No }), "problem", []string{"eth0 in ns-7 is down", "ip -n ns-7 link set eth0 up"}},
		{"namespace's end has gone", changed(func(f *path.Facts) { f.Veth.Peer, f.Veth.PeerUp = "", path.No }), "problem", []string{"in ns-7 is down, or not there"}},
	})
}

func TestIPForwardOff(t *testing.T) {
	tryCheck(t, ipForwardOff, []look{
		{"off, but a relay stands there", changed(func(f *path.Facts) { f.Rules.Forwards = path.No }), "beside", nil},
		{"off", changed(notForwarding), "problem", []string{"ns-7 does not forward", "sysctl -w net.ipv4.ip_forward=1"}},
		{"not known", changed(notForwarding, func(f *path.Facts) { f.Rules.Forwards = path.Unknown }), "beside", nil},
		{"behind a veth that is down", changed(notForwarding, vethCut), "suppressed", []string{"veth-down"}},
	})
}

func TestRuleDrops(t *testing.T) {
	tryCheck(t, ruleDrops, []look{
		{"none", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Rules.Drops = nil }), "beside", nil},
		{"one", changed(filtered), "problem", []string{"a packet filter in ns-7 drops what the proxy sends the relay", "chain input of table inet filter drops what the proxy sends the relay", "ip netns exec ns-7 nft"}},
		{"one, and others that are not judged", changed(filtered, func(f *path.Facts) { f.Rules.NotJudged = []string{"one: fib", "two"} }), "problem", []string{"2 rules that may drop this were not judged: one: fib; two"}},
		{"one, and many that are not judged", changed(filtered, func(f *path.Facts) { f.Rules.NotJudged = strings.Fields("a b c d e f") }), "problem", []string{"6 rules that may drop this were not judged: a; b; c; d; and 2 more"}},
		{"none, and others that are not judged", changed(func(f *path.Facts) { f.Rules.NotJudged = []string{"one"} }), "beside", nil},
		{"one that redirects", changed(func(f *path.Facts) { f.Rules.Redirects = []string{"chain pre of table nat redirects a request"} }), "problem", []string{"a packet filter in ns-7 redirects a request", "chain pre of table nat"}},
		{"some, of the host", changed(filtered, filteredByHost), "suppressed", []string{"host-rule-drops"}},
	})
	some := changed(func(f *path.Facts) { f.Rules.Partly = []string{"chain input drops some of a request"} })
	tryCheck(t, ruleDrops, []look{{"a rate", some, "problem", []string{"drops some of what the path needs"}}})
	if d := Run(some); d.State != path.OK || d.Findings[0].Severity != path.Warning {
		t.Errorf("a rate: %s", summary(d))
	}
}

func TestHostRuleDrops(t *testing.T) {
	tryCheck(t, hostRuleDrops, []look{
		{"none", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Rules.Host.Drops = nil }), "beside", nil},
		{"one", changed(filteredByHost), "problem", []string{"a packet filter in the host's namespace drops what the proxy sends the relay", "chain OUTPUT of table filter", "nft -a list ruleset"}},
		{"behind a veth that is down", changed(filteredByHost, vethCut), "suppressed", []string{"veth-down"}},
	})
}

// TestWhatIsNotJudged: where silence is the only proof of a cause, rules that may be
// another are named.
func TestWhatIsNotJudged(t *testing.T) {
	strange := func(f *path.Facts) {
		f.Rules.NotJudged, f.Rules.Host.NotJudged = []string{"chain input of table filter, rule 3 (handle 7): fib"}, []string{"the XDP program on veth-7"}
	}
	want := []string{"on the host: 1 rule that may drop this was not judged: the XDP program on veth-7", "in ns-7: 1 rule that may drop this was not judged: chain input of table filter, rule 3 (handle 7): fib"}
	tryCheck(t, guestNoARP, []look{{"no answer to ARP", changed(wrongAddress, strange), "problem", want}})
	tryCheck(t, envdNoAnswer, []look{{"no answer to SYNs", changed(synDropped, strange), "problem", want}})
	behind := []string{"a packet filter stands between the guest and whoever asks"}
	tryCheck(t, guestNoARP, []look{{"cut off", changed(wrongAddress, filtered), "unknown", behind}})
	tryCheck(t, guestSilent, []look{{"cut off", changed(guestMute, filtered), "unknown", behind}})
	tryCheck(t, envdNoAnswer, []look{{"cut off", changed(synDropped, filteredByHost), "unknown", behind}})
}

func TestWhereTheVMMsHandIs(t *testing.T) {
	tryCheck(t, tapElsewhere, []look{
		{"here", healthy(), "beside", nil},
		{"gone, and the VMM holds none", changed(tapGone), "beside", nil},
		{"moved", changed(tapMoved), "problem", []string{"the VMM's tap is tap0 in ns-lost", "ip -n ns-lost link set tap0 netns ns-7"}},
	})
	tryCheck(t, tapMissing, []look{{"moved", changed(tapMoved), "suppressed", []string{"tap-elsewhere"}}})
	tryCheck(t, vmmElsewhere, []look{
		{"here", healthy(), "beside", nil},
		{"in another", changed(inAnotherNamespace), "problem", []string{"has opened tap0 in ns-8, not in ns-7"}},
		{"here and there", changed(func(f *path.Facts) {
			f.Sandbox.Holds = append(f.Sandbox.Holds, path.HeldTap{Netns: "ns-8", Device: "tap9"})
		}), "beside", nil},
	})
	tryCheck(t, vmmOtherTap, []look{
		{"its own", healthy(), "beside", nil},
		{"another", changed(onAnotherTap), "problem", []string{"was given tap1, but the slot's tap is tap0", "host_dev_name"}},
	})
	tryCheck(t, vmmNotAttached, []look{
		{"elsewhere", changed(inAnotherNamespace), "suppressed", []string{"vmm-elsewhere"}},
		{"another tap", changed(onAnotherTap), "suppressed", []string{"vmm-other-tap"}},
	})
}

func TestConsole(t *testing.T) {
	tryCheck(t, guestPanic, []look{
		{"nothing said", healthy(), "beside", nil},
		{"said", changed(panicked), "problem", []string{"console: [ 12.204113] Kernel panic"}},
		{"said, also while it boots", changed(panicked, booting), "problem", nil},
		{"for want of an init", changed(panicked, corruptShebang), "suppressed", []string{"init-shebang"}},
	})
	tryCheck(t, vmmExited, []look{{"the VMM went with its guest", changed(panicked), "suppressed", []string{"guest-panic"}}})
	driver := onConsole("guest-no-driver", "no network interface eth0")
	tryCheck(t, guestNoDriver, []look{
		{"mute, and said", changed(guestMute, driver), "problem", nil},
		{"said, but it speaks", changed(driver), "beside", nil},
	})
	tryCheck(t, guestSilent, []look{{"for want of a driver", changed(guestMute, driver), "suppressed", []string{"guest-no-driver"}}})
}

func TestGuestThatStopped(t *testing.T) {
	tryCheck(t, envdNoAnswer, []look{
		{"another MAC", changed(synDropped, otherMAC), "suppressed", []string{"mac-changed"}},
		{"hung", changed(hung), "suppressed", []string{"guest-hung"}},
		{"is being asked by ARP", changed(synDropped, func(f *path.Facts) { f.Traffic.EnvdWaiting = secondsAgo(3) }), "unknown", []string{"asked by ARP"}},
		{"answers ARP", changed(synDropped, func(f *path.Facts) { f.Traffic.EnvdWaiting, f.Traffic.LastReceive = secondsAgo(3), secondsAgo(1) }), "problem", nil},
	})
	tryCheck(t, macChanged, []look{
		{"another, yet all is answered", changed(otherMAC), "problem", []string{"last frame of any kind: 2s ago"}},
		{"another, and nothing is answered", changed(synDropped, otherMAC), "problem", []string{"it is 02:fc:00:00:00:66, and was 02:fc:00:00:00:06"}},
	})
	tryCheck(t, guestHung, []look{
		{"answers", healthy(), "beside", nil},
		{"does not answer SYNs", changed(synDropped), "beside", nil},
		{"nothing", changed(hung), "problem", []string{"its kernel hangs or has halted, or its eth0 is down", "top -H -p 4242"}},
		{"never answered", changed(hung, neverUp), "beside", nil},
		{"speaks of something else", changed(hung, func(f *path.Facts) { f.Traffic.LastReceive = secondsAgo(1) }), "beside", nil},
	})
}

// A warning is a finding, and its hop works.
func TestWarningBreaksNothing(t *testing.T) {
	tryCheck(t, mtuMismatch, []look{
		{"same", healthy(), "beside", nil},
		{"other", changed(otherMTU), "problem", []string{"tap0 has an MTU of 1300, and eth0 in front of it one of 1500"}},
		{"not known", changed(otherMTU, func(f *path.Facts) { f.Veth.MTU = 0 }), "beside", nil},
		{"the host's end is smaller", changed(func(f *path.Facts) { f.Veth.HostMTU = 1400 }), "problem", []string{
			"veth-7 has an MTU of 1400, and its other end eth0 one of 1500", "ip link set veth-7 mtu 1500; or, for eth0, ip -n ns-7 link set eth0 mtu 1400"}},
	})
	if d := Run(changed(otherMTU)); d.State != path.OK || d.BrokenAt() != "" || len(d.Findings) != 1 {
		t.Errorf("got %s, broken at %q", d.State, d.BrokenAt())
	}
}
