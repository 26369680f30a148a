package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// conntrackHold is how long after a drop a table counts as one that drops: one that is
// full for long finds room now and then.
const conntrackHold = 30 * time.Second

var conntrackFull = Check{
	Code:     "conntrack-full",
	Title:    "The namespace's table of connections is full",
	Hop:      path.Relay,
	Fused:    path.Tap,
	Severity: path.Critical,
	InBoot:   true,
	Fades:    true,
	Run: func(f path.Facts) Result {
		c := f.Inside.Conntrack
		if !c.NearlyFull() {
			return notApplicable()
		}
		finding := path.Finding{
			Cause: "the connection tracking table of " + where(f) + " is full: what begins a connection is dropped, in both directions",
			Evidence: []string{fmt.Sprintf("in %s: nf_conntrack_count %d of nf_conntrack_max %d", where(f), c.Count, c.Max),
				fmt.Sprintf("packets dropped for it since the namespace was made: %d", c.Drops)},
			Fix: "see what fills it (" + in(f) + "conntrack -L | head): mostly the guest itself, scanning or crawling; kill that sandbox, " +
				"or raise net.netfilter.nf_conntrack_max on the host, which counts for every namespace",
		}
		switch dropping := !c.LastDrop.IsZero() && f.Now.Sub(c.LastDrop) <= conntrackHold; {
		case dropping:
			finding.Evidence = append(finding.Evidence, "more of them were last seen "+ago(f.Now, c.LastDrop))
		case c.Count >= c.Max-c.Max/100: // full is one that finds room now and then
			finding.Severity = path.Warning
			finding.Cause = "the connection tracking table of " + where(f) + " is full: the kernel makes room by dropping entries that were never answered, and what begins a connection when it finds none"
		default:
			finding.Severity = path.Warning
			finding.Cause = "the connection tracking table of " + where(f) + " is nearly full: soon what begins a connection is dropped"
		}
		return wrong(finding)
	},
}
