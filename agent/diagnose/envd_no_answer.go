package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// askedAfter is when a guest that is asked by ARP has answered, or hangs.
const askedAfter = 5 * time.Second

var envdNoAnswer = Check{
	Code:      "envd-no-answer",
	Title:     "The guest does not answer connections to envd's port",
	Hop:       path.Envd,
	Severity:  path.Critical,
	DependsOn: append([]string{"envd-refused", "guest-no-reply"}, envdRefused.DependsOn...),
	Run: func(f path.Facts) Result {
		t := f.Traffic
		switch {
		case t == nil && !f.Health.Time.IsZero() && !f.Health.Connected && !f.Health.Refused && !f.Health.Unreachable:
			return wrong(path.Finding{
				Cause:    fmt.Sprintf("the guest did not answer a connection to port %d%s: a firewall in it drops the request, it has no route back, or it is overloaded or hangs", f.Port(), within(f.Health.Took)),
				Evidence: append([]string{healthEvidence(f)}, unjudged(f)...),
				Fix:      "see whether the VMM gets its CPU (" + top(f) + "); then " + lookInside(f, "its packet filter (nft list ruleset) and the route back (ip route get "+f.Device.Addr+")"),
			})
		case t == nil:
			return notApplicable()
		case synUnanswered(f) > Patience && cutOff(f):
			return behindRules()
		case synUnanswered(f) > Patience && synUnanswered(f) < askedAfter && !t.LastReceive.After(t.EnvdWaiting):
			return unsure("a SYN waits, and nothing has come from the guest since: it is being asked by ARP")
		case synUnanswered(f) > Patience && synUnanswered(f) < askedAfter && f.Inside.Replies == path.No && !t.LastARPReply.After(t.EnvdWaiting):
			return unsure("a SYN waits, and the guest answers nothing by IP: it is being asked by ARP")
		case synUnanswered(f) > Patience:
			return wrong(noAnswer(f))
		case !sinceAttach(f, t.LastEnvdSYNACK):
			return unsure("no connection to envd's port was answered yet")
		}
		return fine("answered a SYN " + ago(f.Now, t.LastEnvdSYNACK))
	},
}

// noAnswer is what is found where SYNs wait and the guest is there.
func noAnswer(f path.Facts) path.Finding {
	t := f.Traffic
	silent := fmt.Sprintf("the guest has left connections to port %d unanswered for %s", f.Port(), inWords(synUnanswered(f)))
	finding := path.Finding{
		Cause: silent + ": a firewall in it drops them, envd accepts none and its queue is full, it has no route back, or it is overloaded",
		Evidence: append(append(unansweredEvidence(f),
			"the guest's last frame of any kind: "+ago(f.Now, t.LastReceive)), unjudged(f)...),
		Fix: "read the guest's console (" + logs(f) + "), and " + lookInside(f, "its packet filter (nft list ruleset), envd's accept queue (ss -ltn) and the route back (ip route get "+f.Device.Addr+")"),
	}
	refusedElse := t.LastPortRefused.After(t.EnvdWaiting)
	if f.Inside.Replies != path.Yes && !refusedElse {
		return finding
	}
	finding.Cause = silent + ", and answers at other ports: most likely a firewall in it drops them, else envd accepts none and its queue is full"
	evidence := "the guest answered a datagram that its port is closed, so its kernel is well and has its route back"
	if refusedElse {
		evidence = "the guest refused a connection to another port " + ago(f.Now, t.LastPortRefused) + ", so its kernel is well and has its route back"
	}
	finding.Evidence = append(finding.Evidence, evidence)
	finding.Fix = "read the guest's console (" + logs(f) + "), and " + lookInside(f, "its packet filter (nft list ruleset), then envd's accept queue (ss -ltn)")
	return finding
}
