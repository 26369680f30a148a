package path

import (
	"fmt"
	"time"
)

// Lived is a sandbox that the agent has a history of.
type Lived struct {
	SandboxID string    `json:"sandbox_id"`
	Name      string    `json:"name,omitempty"`
	Netns     string    `json:"netns"`
	Gone      time.Time `json:"gone,omitzero"` // zero: it is there
}

// History is what happened to a sandbox, the oldest first.
type History struct {
	Lived
	Boot    *Boot   `json:"boot"` // nil: unknown
	Events  []Event `json:"events"`
	Dropped int     `json:"dropped"` // elder events that found no place
}

// Question is what of the past is asked for; what is empty is not asked.
type Question struct {
	Sandbox      string // its id or its name
	Since, Until time.Time
}

// Fits says whether an event is asked for.
func (q *Question) Fits(e *Event) bool {
	return (q.Sandbox == "" || e.SandboxID == q.Sandbox || e.Name == q.Sandbox) && (q.Since.IsZero() || !e.Time.Before(q.Since)) && (q.Until.IsZero() || !e.Time.After(q.Until))
}

// afterwards is how much later the one of a death and a loss of carrier may come
// that belong together.
const afterwards = 5 * time.Second

// LastLoss says of the last loss of the carrier what came first, the end of the
// VMM or the loss; "" where the carrier was never lost.
func (h History) LastLoss() string {
	var lost, ended *Event
	for i := range h.Events {
		switch e := &h.Events[i]; e.Kind {
		case CarrierLost:
			lost = e
		case VMMExited:
			ended = e
		}
	}
	switch {
	case lost == nil:
		return ""
	case ended == nil || ended.Time.Sub(lost.Time).Abs() > afterwards:
		return "the carrier went while the VMM ran"
	case ended.Time.After(lost.Time): // the agent sees it later than it is, never earlier
		return fmt.Sprintf("the carrier went first, %s before the VMM ended", Short(ended.Time.Sub(lost.Time)))
	case ended.HeldTap == Yes:
		return fmt.Sprintf("the VMM ended first, %s before the agent saw the carrier go", Short(lost.Time.Sub(ended.Time)))
	case ended.HeldTap == No:
		return "the carrier went first: the VMM had let go of its tap when it ended"
	}
	return fmt.Sprintf("which went first is not known: the agent saw the carrier go %s after the VMM's end", Short(lost.Time.Sub(ended.Time)))
}

// Short rounds a duration to what a reader needs: three digits or so.
func Short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
