package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var conntrackFull = Check{
	Code:     "conntrack-full",
	Title:    "The namespace's table of connections is full",
	Hop:      path.Relay,
	Fused:    path.Tap,
	Severity: path.Critical,
	Loses:    true,
	Inferred: true,
	InBoot:   true,
	Run: func(f path.Facts) Result {
		c := f.Inside.Conntrack
		if !c.NearlyFull() {
			return notApplicable()
		}
		finding := path.Finding{
			Cause:    "the connection tracking table of " + where(f) + " is full: what begins a connection is dropped, in both directions",
			Evidence: []string{fmt.Sprintf("in %s: nf_conntrack_count %d of nf_conntrack_max %d", where(f), c.Count, c.Max)},
			Fix: "see what fills it (" + in(f) + "conntrack -L | head): mostly the guest itself, scanning or crawling; kill that sandbox, " +
				"or raise net.netfilter.nf_conntrack_max on the host, which counts for every namespace",
		}
		if c.Count < c.Max {
			finding.Severity = path.Warning
			finding.Cause = "the connection tracking table of " + where(f) + " is nearly full: soon what begins a connection is dropped"
		}
		return wrong(finding)
	},
}
