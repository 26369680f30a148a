package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// What a queueing discipline does to requests, wherever it is.

const (
	// slowRate is a rate at which one full packet takes ten milliseconds, in bytes a second.
	slowRate = 150_000
	// longDelay is a delay that a client notices; hopeless one that it does not wait for.
	longDelay = 10 * time.Millisecond
	hopeless  = 3 * time.Second
	// shortQueue is a queue, in packets, that one answer overflows.
	shortQueue = 8
	// fullPacket is the size that every packet may have.
	fullPacket = 1514
)

// qdiscs finds the queueing disciplines that hurt requests. Shaping to a usual rate is a
// launcher's right.
func qdiscs(f path.Facts, here func(path.Qdisc) bool) Result {
	finding := path.Finding{Severity: path.Warning}
	for _, q := range f.Inside.Qdiscs {
		harm, most := harmOf(q)
		if !here(q) || harm == "" {
			continue
		}
		where, tc := "in "+where(f), in(f)+"tc"
		if q.Host {
			where, tc = "on the host", "tc"
		}
		if finding.Cause == "" {
			finding.Cause = fmt.Sprintf("the qdisc %s of %s %s %s", q.Kind, q.Device, where, harm)
			finding.Fix = fmt.Sprintf("%s -s qdisc show dev %s; take it out (%[1]s qdisc del dev %[2]s root), or give it a rate and a limit that requests fit through", tc, q.Device)
		}
		if most {
			finding.Severity = path.Critical
		}
		finding.Evidence = append(finding.Evidence, fmt.Sprintf("%s %s: qdisc %s %s", q.Device, where, q.Kind, harm))
	}
	if finding.Cause == "" {
		return notApplicable()
	}
	return wrong(finding)
}

// harmOf says what a queueing discipline does to requests, and whether to most of them;
// empty: no harm that is known.
func harmOf(q path.Qdisc) (words string, most bool) {
	switch {
	case q.Loss > 0:
		return fmt.Sprintf("drops %.3g%% of all packets", 100*q.Loss), q.Loss >= 0.5
	case q.Delay >= longDelay:
		return "delays each packet by " + inWords(q.Delay), q.Delay >= hopeless
	case q.Rate > 0 && q.Rate < slowRate:
		return fmt.Sprintf("lets through %d bytes a second", q.Rate), false
	case q.Burst > 0 && q.Burst < fullPacket:
		return fmt.Sprintf("drops packets of more than %d bytes", q.Burst), false
	case q.Limit > 0 && q.Limit < shortQueue:
		return fmt.Sprintf("keeps no more than %d packets, and drops the others", q.Limit), false
	}
	return "", false
}
