package path

import "time"

// Outcome is what came of something that was asked of a sandbox at its service's port:
// of a connect, or of a later request of the connection.
type Outcome string

// The outcomes. Unused and GaveUp are nobody's fault, and count neither way.
const (
	Answered    Outcome = "answered"
	ServerError Outcome = "server_error" // by HTTP, with a status of 5xx
	NotHTTP     Outcome = "not_http"     // an answer of another kind
	Refused     Outcome = "refused"      // the connect was
	Reset       Outcome = "reset"        // before an answer
	Closed      Outcome = "closed"       // before an answer
	Lost        Outcome = "lost"         // not even acknowledged
	GaveUp      Outcome = "gave_up"      // whoever asked ended it
	Unused      Outcome = "unused"       // a connection over which nothing was asked
)

// Outcomes is every outcome, in the order of bpf/flow.h.
var Outcomes = [...]Outcome{Unused, Answered, ServerError, NotHTTP, Refused, Reset, Closed, Lost, GaveUp}

// Failed says whether a client got nothing of use.
func (o Outcome) Failed() bool {
	switch o {
	case ServerError, NotHTTP, Refused, Reset, Closed, Lost:
		return true
	}
	return false
}

// Asked is what was asked of one point of the path lately: in the last seconds, or the
// last few times.
type Asked struct {
	Ended  int `json:"ended"`  // that were answered or failed
	Failed int `json:"failed"` // of those
	// By is how those that failed did.
	By   map[Outcome]int `json:"by,omitempty"`
	Last time.Time       `json:"last,omitzero"` // when one ended last
	Good time.Time       `json:"good,omitzero"` // when the latest one began that was answered
	// Well is when the last but two of them began that were answered; zero: they were not.
	Well time.Time `json:"well,omitzero"`
	// Row is how many of the last ones in a row failed, RowSince when the first of them
	// began, or one soon after it.
	Row      int       `json:"row,omitempty"`
	RowSince time.Time `json:"row_since,omitzero"`
	// Waiting is how many still wait, and Waits some of them, spread over all; the oldest
	// is the first.
	Waiting int    `json:"waiting,omitempty"`
	Waits   []Wait `json:"waits,omitempty"`
}

// Patience is how long a packet may stay without an acknowledgment, and a guest may leave
// an ARP request or a SYN unanswered, before that is a problem: one retransmission of the
// kernel's.
const Patience = 1500 * time.Millisecond

// SlowAfter is how long a request may wait for an answer that has reached the one who is
// asked.
const SlowAfter = 3 * time.Second

// Stale is how long after it ended something still says how it is.
const Stale = time.Minute

// rowFresh is how long after the last one that failed a few in a row still say that all
// do: clients that wait for an answer in vain ask again within this.
const rowFresh = 10 * time.Second

// Within is how long something that ended is judged by, where there is more of it.
const Within = 3 * time.Second

// Lost is how much of what waits is lost by now: it was not acknowledged in time. What
// waits still from before others were answered says nothing of now.
func (a *Asked) Lost(now time.Time) (n int) {
	for _, w := range a.Waits {
		if w.lost(now) && w.Since.After(a.Well) {
			n++
		}
	}
	if n == 0 {
		return 0
	}
	return n * max(a.Waiting, len(a.Waits)) / len(a.Waits)
}

// Failing says whether more than half of what was asked lately failed. Where clients wait
// long, fewer ask: what was answered before is then not lately.
func (a *Asked) Failing(now time.Time) bool {
	lost := a.Lost(now)
	if lost == 0 && now.Sub(a.Last) >= Stale {
		return false
	}
	return 2*(a.Failed+lost) > a.Ended+lost || a.nothingFor(now) >= Within
}

// nothingFor is how long all that was asked has failed or is lost. One that failed may be
// anything; one that is lost was sent again in vain.
func (a *Asked) nothingFor(now time.Time) time.Duration {
	n, since := a.Row, a.RowSince
	switch {
	case now.Sub(a.Last) > rowFresh:
		n = 0
	case n == 1 && a.By[Lost] > 0:
		n = 2
	}
	for _, w := range a.Waits {
		if w.lost(now) && w.Since.After(a.Good) {
			if n == 0 || w.Since.Before(since) {
				since = w.Since
			}
			n += 2
		}
	}
	if n < 2 {
		return 0
	}
	return now.Sub(since)
}

// Slow says whether a request has waited since then that was acknowledged, and none was
// answered that began later.
func (a *Asked) Slow(since time.Time) bool {
	return len(a.Waits) > 0 && a.Waits[0].Acked && a.Waits[0].Since.Before(since) && !a.Good.After(a.Waits[0].Since)
}

// Bad is how many of what was asked lately failed.
func (a *Asked) Bad(now time.Time) int { return a.Failed + a.Lost(now) }

// Failing says whether whoever asks gets nothing of use most times.
func (r *Requests) Failing(now time.Time) bool {
	return r != nil && (r.Relay.Failing(now) || r.Guest.Failing(now))
}

// Wait is something asked that has no answer yet.
type Wait struct {
	Since      time.Time `json:"since"`
	Connecting bool      `json:"connecting,omitempty"` // a SYN waits, else a request
	// Left says that it came as far as a device of whoever asks, Acked that the kernel
	// of whoever is asked has it.
	Left  bool `json:"left,omitempty"`
	Acked bool `json:"acked,omitempty"`
}

// lost says whether it was not acknowledged in time.
func (w *Wait) lost(now time.Time) bool { return !w.Acked && now.Sub(w.Since) >= Patience }

// Requests is what whoever asks got of late, where the sockets of the host show it.
type Requests struct {
	Relay Asked `json:"relay"` // asked of the relay, by the proxy
	Guest Asked `json:"guest"` // asked of the guest, by whoever is next to it
	// Totals counts what clients got since the sandbox was first known: what came of what
	// the relay was asked, else the guest. Of the relay's answers those count as errors
	// that were the guest's.
	Totals Totals `json:"totals,omitempty"`
}

// Totals counts by outcome.
type Totals map[Outcome]uint64

// TotalsOf is Totals of what was counted at both points, in the order of Outcomes.
func TotalsOf(relay, guest *[len(Outcomes)]uint64) Totals {
	asked, t := guest, Totals{}
	for _, n := range relay {
		if n > 0 {
			asked = relay
		}
	}
	for i, o := range Outcomes {
		if asked[i] > 0 {
			t[o] = asked[i]
		}
	}
	if asked == relay {
		for i, o := range Outcomes {
			if o == ServerError || o == NotHTTP {
				bad := min(guest[i], t[Answered])
				t[Answered] -= bad
				t[o] += bad
			}
		}
	}
	for o, n := range t {
		if n == 0 {
			delete(t, o)
		}
	}
	return t
}

// Loss is where packets of the path vanish, as seen at its points.
type Loss struct {
	Time time.Time `json:"time"`
	// After is the last point that the packets were seen at, Before the first that they
	// were not; empty: a program.
	After  string `json:"after"`
	Before string `json:"before"`
	Hop    Hop    `json:"hop"`  // that Before belongs to
	Back   bool   `json:"back"` // they are answers, on their way to the client
	What   string `json:"what"` // what the packets are, e.g. SYN
	Count  int    `json:"count"`
	Of     int    `json:"of"` // so many were seen at After
	// Evidence is what was seen, in words.
	Evidence []string `json:"evidence,omitempty"`
}

// Dropped is packets of the service's port that the kernel dropped at one place of the path.
type Dropped struct {
	Since    time.Time `json:"since"`              // the first of them, without a long pause
	Last     time.Time `json:"last"`               // the last
	At       string    `json:"at"`                 // the device or namespace that they were at
	Back     bool      `json:"back"`               // they came from the guest, or the relay
	Reason   string    `json:"reason,omitempty"`   // of the kernel's, e.g. NETFILTER_DROP; empty: it tells none
	Function string    `json:"function,omitempty"` // of the kernel that dropped them; empty: unknown
	Count    uint64    `json:"count"`
}
