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
	Loses:    true,
	Inferred: true,
	InBoot:   true,
	Fades:    true,
	Run: func(f path.Facts) Result {
		c := f.Inside.Conntrack
		if !c.NearlyFull() {
			return notApplicable()
		}
		table := fmt.Sprintf("the connection tracking table of %s, with %d of %d entries,", where(f), c.Count, c.Max)
		finding := path.Finding{
			Cause: table + " is full: the kernel drops the first packet of every new connection, in both directions",
			Evidence: []string{fmt.Sprintf("in %s: net.netfilter.nf_conntrack_count is %d, nf_conntrack_max is %d", where(f), c.Count, c.Max),
				fmt.Sprintf("the kernel has dropped %d packets for it since the namespace was made", c.Drops)},
			Fix: "see what fills it (" + in(f) + "conntrack -L | head): mostly the guest itself, scanning or crawling; end that sandbox, " +
				fmt.Sprintf("or raise the limit, which counts for every namespace, on the host: sysctl -w net.netfilter.nf_conntrack_max=%d", 2*c.Max),
		}
		switch dropping := !c.LastDrop.IsZero() && f.Now.Sub(c.LastDrop) <= conntrackHold; {
		case dropping:
			finding.Evidence = append(finding.Evidence, "that count was last seen to rise "+ago(f.Now, c.LastDrop))
		case c.Count >= c.Max-c.Max/100: // full is one that finds room now and then
			finding.Severity = path.Warning
			finding.Cause = table + " is full: the kernel makes room by dropping entries that were never answered, and drops new connections where it finds none"
		default:
			finding.Severity = path.Warning
			finding.Cause = table + " is nearly full: soon the kernel drops new connections"
		}
		return wrong(finding)
	},
}
