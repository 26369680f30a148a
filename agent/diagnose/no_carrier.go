package diagnose

import (
	"cmp"
	"fmt"

	"tapwatch/agent/path"
)

// noCarrier is what is left where the VMM's part is not known.
var noCarrier = Check{
	Code:      "no-carrier",
	Title:     "NO-CARRIER, and the VMM's part in it is not known",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: carrierFaults,
	Run: func(f path.Facts) Result {
		switch f.Device.Carrier {
		case path.Yes:
			return fine("carrier" + heldBy(f.Device.Holders))
		case path.No:
			finding := path.Finding{
				Cause:    "NO-CARRIER on " + f.Device.Name + unattached(f.Device),
				Evidence: carrierEvidence(f),
				Fix:      "see whether the VMM runs (" + pids(f) + ") and which tap it has open (grep -H ^iff: /proc/[0-9]*/fdinfo/*); see which tap it was to open (" + launcherLog(f) + ")",
			}
			if len(f.Device.Holders) > 0 {
				finding.Cause = "NO-CARRIER on " + f.Device.Name + " although it is" + heldByWords(f.Device.Holders)
				finding.Fix = "look again in a second: a VMM that is just attaching or ending looks so; where it stays so, that process has switched the carrier off (TUNSETCARRIER): end it, then " + anew(f)
			}
			return wrong(finding)
		}
		return unsure("the carrier is unknown")
	},
}

// carrierEvidence is what the kernel says of the tap, as an operator would ask it.
func carrierEvidence(f path.Facts) []string {
	d := f.Device
	history := "it never had carrier since it was created"
	if d.Ups > 0 {
		history = "carrier came " + times(d.Ups) + " and went " + times(d.Downs)
	}
	ev := []string{fmt.Sprintf("%s in %s has no carrier (operstate %s); %s", d.Name, where(f), cmp.Or(d.Operstate, "unknown"), history)}
	if !d.Since.IsZero() {
		ev = append(ev, fmt.Sprintf("it has been without since %s (%s)", d.Since.Format("15:04:05.000"), ago(f.Now, d.Since)))
	}
	switch {
	case d.Holders == nil:
		ev = append(ev, "which process has the tap open is not known")
	case len(d.Holders) == 0:
		ev = append(ev, "no process has the tap open")
	default:
		ev = append(ev, "the tap is open"+heldBy(d.Holders))
	}
	return ev
}

// unattached says who has the tap open, where no process is known to.
func unattached(d path.Device) string {
	if d.Holders == nil {
		return ", and neither which process has it open nor what the VMM does is known"
	}
	return ": no process has it open, and what the VMM does is not known"
}

// pids lists the processes among which the VMM is, if it runs.
func pids(f path.Facts) string {
	if f.Host || f.Netns == "" {
		return "ps -ef"
	}
	return "ip netns pids " + f.Netns
}

func heldBy(holders []path.Holder) string {
	if len(holders) == 0 {
		return ""
	}
	h := holders[0]
	s := fmt.Sprintf(", held by %s (pid %d)", h.Command, h.PID)
	switch {
	case !h.SameNS && h.Netns != "":
		s += " from " + named(h.Netns)
	case !h.SameNS:
		s += " from another namespace"
	}
	if n := len(holders) - 1; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}
