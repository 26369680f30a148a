package diagnose

import "tapwatch/agent/path"

// degraded has no Run, as unexplained.
var degraded = Check{
	Code:     "degraded",
	Title:    "Some requests fail",
	Severity: path.Warning,
}

const (
	// degradedLeast is how many requests must have failed of late, and degradedShare at
	// least how many of a hundred: one that fails may be anything.
	degradedLeast = 2
	degradedShare = 2
)

// isDegraded says whether some requests of late failed, and most did not.
func isDegraded(f path.Facts) bool {
	r := f.Requests
	if r == nil || r.Failing(f.Now) {
		return false
	}
	for _, a := range []*path.Asked{&r.Relay, &r.Guest} {
		lost := a.Lost(f.Now)
		if failed := a.Failed + lost; failed >= degradedLeast && 100*failed >= degradedShare*(a.Ended+lost) && f.Now.Sub(a.Last) < path.Stale {
			return true
		}
	}
	return false
}

func degradedAt(f path.Facts, c Check) path.Finding {
	at := lostAt(f)
	return c.named(path.Finding{
		Cause:    failedOf(f) + " failed: " + at.how,
		Evidence: append(requestsEvidence(f), at.evidence...),
		Fix:      lookFix(f, at.hop),
	}, at.hop)
}
