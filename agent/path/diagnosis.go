package path

import (
	"cmp"
	"slices"
	"time"
)

// State is how a hop or a whole path stands.
type State string

// The states. Booting stands for problems that a sandbox may have until its boot
// grace is over; Idle is a slot without a sandbox, which is healthy; Paused is a VM
// that stands still on purpose while nobody waits for it: neither ok nor broken.
const (
	OK        State = "ok"
	Broken    State = "broken"
	Undecided State = "unknown" // not enough is known to say
	Booting   State = "booting"
	Paused    State = "paused"
	Idle      State = "idle"
	// Unidentified is a tap that somebody holds whom no rule knows: neither idle nor
	// broken.
	Unidentified State = "unidentified"
)

// States are all states, from the one that matters least to the one that matters most.
var States = []State{Idle, Unidentified, Paused, OK, Booting, Undecided, Broken}

// Empty is the state of a tap without a sandbox, which no stranger is known to hold. A
// tap has carrier while somebody holds it: where nobody knows who does, it is not idle.
func Empty(d *Device) State {
	if d.Holders == nil && d.Carrier == Yes {
		return Undecided
	}
	return Idle
}

// Severity orders findings; the words are Prometheus alerts' usual ones.
type Severity string

// The severities, by what becomes of requests.
const (
	Critical Severity = "critical" // they fail now: no request gets through
	Warning  Severity = "warning"  // they will, or some do
	Info     Severity = "info"     // none does for it: good to know
)

// Severities are all severities, from the one that matters least to the one that
// matters most.
var Severities = []Severity{Info, Warning, Critical}

// AtMost is a severity, or most where that matters less; an empty most is none.
func (s Severity) AtMost(most Severity) Severity {
	if most != "" && slices.Index(Severities, most) < slices.Index(Severities, s) {
		return most
	}
	return s
}

// BySeverity puts what matters most on top; of the same severity what comes first on the
// path, which is the cause.
func BySeverity(findings []Finding) []Finding {
	return slices.SortedStableFunc(slices.Values(findings), func(a, b Finding) int {
		return slices.Index(Severities, b.Severity) - slices.Index(Severities, a.Severity)
	})
}

// Means says what a severity means for clients.
func (s Severity) Means() string {
	switch s {
	case Critical:
		return "requests of clients fail now"
	case Warning:
		return "some requests fail, or will"
	case Info:
		return "no request to the service port fails for it"
	}
	return "what it means for clients is not known"
}

// Finding is a problem: where, why, how one can tell, and what to do.
type Finding struct {
	Code     string   `json:"code"` // names the check and its page docs/checks/<code>.md
	Hop      Hop      `json:"hop"`
	Severity Severity `json:"severity"`
	Cause    string   `json:"cause"`    // one sentence
	Evidence []string `json:"evidence"` // measured values
	Fix      string   `json:"fix"`      // what to do next
	// Since is when it was found; zero: just now, by a look that keeps nothing.
	Since time.Time `json:"since,omitzero"`
}

// HopState is how one hop stands, with the words that an operator would use.
type HopState struct {
	Hop    Hop    `json:"hop"`
	State  State  `json:"state"`
	Detail string `json:"detail"`
}

// Diagnosis is what follows from Facts. Findings hold causes only: what is a mere
// consequence of one of them is left out.
type Diagnosis struct {
	State    State      `json:"state"`
	Hops     []HopState `json:"hops"`
	Findings []Finding  `json:"findings"`
	// Undecided are the checks that could not judge, by code.
	Undecided []string `json:"undecided,omitempty"`
}

// Compare orders diagnoses: the one that matters more comes later, by its state and
// then by how many findings it has.
func (d *Diagnosis) Compare(o *Diagnosis) int {
	return cmp.Or(cmp.Compare(slices.Index(States, d.State), slices.Index(States, o.State)), cmp.Compare(len(d.Findings), len(o.Findings)))
}

// BrokenAt returns the first broken hop, else the first that a boot has not
// brought up yet, else "".
func (d Diagnosis) BrokenAt() Hop {
	for _, state := range []State{Broken, Booting} {
		for _, h := range d.Hops {
			if h.State == state {
				return h.Hop
			}
		}
	}
	return ""
}

// Slot is one slot as the agent publishes it: facts and what follows from them.
type Slot struct {
	Facts
	Diagnosis Diagnosis `json:"diagnosis"`
}
