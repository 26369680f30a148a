package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// unexplained has no Run: what requests come to is its ground, and that no check says
// why. See follow.
var unexplained = Check{
	Code:     "unexplained",
	Title:    "Requests fail, and no check knows why",
	Severity: path.Critical,
}

// unexplainedAt is the finding, with where requests are lost.
func unexplainedAt(f path.Facts, d *path.Diagnosis, c Check) path.Finding {
	at := lostAt(f)
	finding := path.Finding{
		Cause:    failedOf(f) + " failed, and no check knows why: " + at.how,
		Evidence: slices.Concat(requestsEvidence(f), at.evidence, droppedEvidence(f)),
		Fix:      lookFix(f, at.hop),
	}
	if right := excluded(d); right != "" {
		finding.Evidence = append(finding.Evidence, "found right: "+right)
	}
	finding.Evidence = append(finding.Evidence, unjudged(f)...)
	return c.named(finding, at.hop)
}

// place is where requests are lost, as far as is known.
type place struct {
	hop      path.Hop
	how      string // in the middle of a sentence
	evidence []string
}

// lostAt tells where requests are lost: by where packets vanish, else by whose sockets
// wait, and for what.
func lostAt(f path.Facts) place {
	if l := f.Loss; l != nil {
		if l.Hop == path.Guest && hasXDP(f) { // nobody sees what the guest answers
			return place{path.Tap, "the guest is asked at " + f.Device.Name + ", and what it answers comes to the XDP program there first", l.Evidence}
		}
		return place{l.Hop, fmt.Sprintf("%s vanish between %s and %s", cmp.Or(l.What, "packets"), cmp.Or(l.After, "whoever sends them"), l.Before), l.Evidence}
	}
	r := f.Requests
	if !r.Relay.Failing(f.Now) && (r.Guest.Failing(f.Now) || r.Guest.Bad(f.Now) > 0 || r.Relay.Bad(f.Now) == 0) {
		return lostBehindRelay(f)
	}
	switch worst(&r.Relay, f) {
	case path.Refused:
		return place{path.Relay, "the relay refuses connections", nil}
	case path.Lost:
		return place{path.Relay, "the relay does not acknowledge what the proxy sends", nil}
	}
	switch {
	case r.Guest.Failing(f.Now):
		return lostBehindRelay(f)
	case r.Guest.Ended == 0 && len(r.Guest.Waits) == 0:
		return place{path.Tap, "the relay takes connections and ends them, and nothing leaves it for the guest", nil}
	case worst(&r.Relay, f) == path.ServerError || worst(&r.Relay, f) == path.NotHTTP:
		return place{path.Envd, "what answers is no healthy envd", nil}
	}
	return place{path.Relay, "the relay ends connections though the guest answers", nil}
}

// lostBehindRelay tells where requests to the guest are lost.
func lostBehindRelay(f path.Facts) place {
	switch worst(&f.Requests.Guest, f) {
	case path.Refused:
		return place{path.Envd, "the guest refuses connections to envd's port", nil}
	case path.ServerError:
		return place{path.Envd, "envd answers with errors of its own (5xx)", nil}
	case path.NotHTTP:
		return place{path.Envd, "what answers at envd's port speaks no HTTP", nil}
	case path.Reset, path.Closed:
		return place{path.Envd, "connections to envd are ended before an answer", nil}
	}
	t := f.Traffic
	var first path.Wait
	if waits := f.Requests.Guest.Waits; len(waits) > 0 {
		first = waits[0]
	}
	switch {
	case t == nil:
		return place{path.Guest, "the guest does not acknowledge what it is sent", nil}
	case arpUnanswered(f) > 0:
		return place{path.Guest, "the guest is asked for by ARP, and does not answer", nil}
	case !first.Since.IsZero() && !first.Left && f.Sandbox.Shape == registry.DNAT:
		return place{path.Relay, "what the proxy sends does not leave the host by the veth", nil}
	case !first.Since.IsZero() && !first.Left, first.Connecting && t.LastEnvdSYN.Before(first.Since):
		return place{path.Tap, "what is sent to the guest does not come out at the tap", nil}
	case synUnanswered(f) > 0:
		return place{path.Guest, "what is sent to the guest passes the tap and is not answered", nil}
	}
	return place{path.Relay, "the guest answers at the tap, and its answers do not reach whoever asks", nil}
}

// worst is what came of most of what failed.
func worst(a *path.Asked, f path.Facts) (most path.Outcome) {
	by := maps.Clone(a.By)
	if by == nil {
		by = map[path.Outcome]int{}
	}
	by[path.Lost] += a.Lost(f.Now)
	for _, o := range path.Outcomes {
		if by[o] > by[most] {
			most = o
		}
	}
	return most
}

// failedOf says how many requests failed of late, before "failed".
func failedOf(f path.Facts) string {
	for _, of := range points(f) {
		if failed, ended := of.count(f); failed > 0 {
			return fmt.Sprintf("%d of the last %d requests to %s", failed, ended, of.who)
		}
	}
	return "requests"
}

// point is what was asked of one point of the path, with its name.
type point struct {
	who string
	*path.Asked
}

// points is the points of the path where it is known what came of requests.
func points(f path.Facts) []point {
	return []point{{"the relay", &f.Requests.Relay}, {"the guest", &f.Requests.Guest}}
}

// count counts those that failed and those that ended, with those that are taken for lost.
func (a point) count(f path.Facts) (failed, ended int) {
	lost := a.Lost(f.Now)
	return a.Failed + lost, a.Ended + lost
}

// requestsEvidence counts what was asked lately, and how it failed.
func requestsEvidence(f path.Facts) (all []string) {
	for _, of := range points(f) {
		lost := of.Lost(f.Now)
		failed, ended := of.count(f)
		if ended == 0 {
			continue
		}
		s := fmt.Sprintf("of the last %d requests to %s at port %d, %d failed", ended, of.who, f.Port(), failed)
		var how []string
		for _, o := range path.Outcomes {
			if n := of.By[o]; n > 0 {
				how = append(how, fmt.Sprintf("%d %s", n, outcomeWords[o]))
			}
		}
		if lost > 0 {
			how = append(how, fmt.Sprintf("%d not acknowledged for %s", lost, inWords(f.Now.Sub(of.Waits[0].Since))))
		}
		if len(how) > 0 {
			s += ": " + strings.Join(how, ", ")
		}
		if !of.Good.IsZero() {
			s += "; the last that was answered: " + ago(f.Now, of.Good)
		}
		all = append(all, s)
	}
	return all
}

// droppedEvidence is where the kernel says that it dropped packets of the path.
func droppedEvidence(f path.Facts) (all []string) {
	for _, d := range f.Dropped {
		all = append(all, droppedWords(f, d))
	}
	return all
}

func droppedWords(f path.Facts, d path.Dropped) string {
	way := "to"
	if d.Back {
		way = "from"
	}
	return fmt.Sprintf("the kernel dropped %d packets %s port %d (%s) in its function %s, for the reason %s, the last %s", d.Count, way, f.Port(),
		d.At, cmp.Or(d.Function, "(unknown)"), cmp.Or(d.Reason, "(unknown)"), ago(f.Now, d.Last))
}

// outcomeWords are the outcomes in the middle of a sentence.
var outcomeWords = map[path.Outcome]string{
	path.ServerError: "answered with 5xx", path.NotHTTP: "answered with what is no HTTP", path.Refused: "refused",
	path.Reset: "reset", path.Closed: "closed without an answer", path.Lost: "not acknowledged",
}

// excluded is what the checks found right.
func excluded(d *path.Diagnosis) string {
	var right []string
	for _, h := range d.Hops {
		if h.State == path.OK && h.Detail != "" {
			right = append(right, string(h.Hop)+" ("+h.Detail+")")
		}
	}
	return strings.Join(right, "; ")
}

// lookFix is where to look on from, by the hop.
func lookFix(f path.Facts, at path.Hop) string {
	between := betweenFix(f)
	switch {
	case at == path.Envd, at == path.Guest:
		return "read the guest's console (" + logs(f) + "), and " + lookInside(f, "envd: whether it starts, and what port it listens on (ss -ltnp)")
	case between != "":
		return between
	case at == path.Tap:
		return fmt.Sprintf("look at what the namespace does with packets for the guest: %[1]snft list ruleset; %[2]s rule; %[2]s route get %[3]s; %[1]stc -s qdisc show dev %[4]s; %[1]stc filter show dev %[4]s egress",
			in(f), ip(f), cmp.Or(f.Device.GuestAddr, "GUEST"), f.Device.Name)
	}
	return fmt.Sprintf("look at what the host and the namespace do with packets of the path: nft list ruleset; tc filter show dev %[3]s ingress, on the host; %[1]snft list ruleset; %[2]s rule; %[2]s route; %[1]stc filter show dev %[4]s ingress",
		in(f), ip(f), cmp.Or(f.Veth.Host, "VETH"), f.Device.Name)
}

// betweenFix is where to look for what takes packets between two points of the path, where
// their loss was measured; empty: it was not.
func betweenFix(f path.Facts) string {
	l := f.Loss
	if l == nil {
		return ""
	}
	var commands []string
	look := func(inside, ip, device string) {
		if rules := inside + "nft list ruleset"; !slices.Contains(commands, rules) {
			commands = append(commands, rules, ip+" rule")
		}
		commands = append(commands, inside+"tc -s qdisc show dev "+device, inside+"tc filter show dev "+device+" ingress", inside+"tc filter show dev "+device+" egress")
	}
	for _, point := range []string{l.After, l.Before} {
		if device, ok := strings.CutSuffix(point, " on the host"); ok {
			look("", "ip", device)
		} else if device, ok := strings.CutSuffix(point, " in "+f.Netns); ok {
			look(in(f), ip(f), device)
		}
	}
	if len(commands) == 0 {
		return ""
	}
	return fmt.Sprintf("look at what takes the %s between %s and %s: %s", cmp.Or(l.What, "packets"), cmp.Or(l.After, "whoever sends them"), l.Before, strings.Join(commands, "; "))
}
