package path

import (
	"net/http"
	"time"

	"tapwatch/internal/registry"
)

// Health is what came of a question for envd's health, of the agent's own. Without
// one the time is zero.
type Health struct {
	Time      time.Time `json:"time,omitzero"`
	Connected bool      `json:"connected"`
	// Refused says that a kernel refused the connection, Unreachable that there is no
	// way to the address (no answer to ARP, at the tap).
	Refused     bool          `json:"refused,omitempty"`
	Unreachable bool          `json:"unreachable,omitempty"`
	TimedOut    bool          `json:"timed_out,omitempty"` // nobody answered in time
	Code        int           `json:"code,omitempty"`      // of HTTP; 0: none came
	Took        time.Duration `json:"took_ns,omitempty"`
	Error       string        `json:"error,omitempty"`
}

// Shown is what the agent's own questions showed of a path's hops last: it works or
// it does not. What they do not tell for certain is absent.
func (f *Facts) Shown() map[Hop]bool {
	if f.Sandbox == nil || f.Health.Time.IsZero() && f.Through.Time.IsZero() {
		return nil
	}
	shown := map[Hop]bool{}
	if f.Health.Time.Before(f.Through.Time) { // the later one has the last word
		f.Health.atTap(shown)
		f.Through.throughPath(shown, f.Sandbox.Shape)
	} else {
		f.Through.throughPath(shown, f.Sandbox.Shape)
		f.Health.atTap(shown)
	}
	return shown
}

// atTap is what a question straight at the tap shows.
func (h Health) atTap(shown map[Hop]bool) {
	switch {
	case h.Connected || h.Refused:
		shown[Tap] = true
		shown[Envd] = h.Error == "" && h.Code < http.StatusBadRequest
	case h.TimedOut || h.Unreachable: // behind it, nobody knows
		shown[Tap] = false
	}
}

// throughPath is what a question to the proxy shows. It answers itself where it gets
// no answer; that of an envd that is well has no body, and a code of its own. A
// connection that stays without an answer may hang anywhere.
func (h Health) throughPath(shown map[Hop]bool, shape registry.Shape) {
	switch {
	case h.Code == http.StatusNoContent:
		for _, hop := range HopsOf(shape) {
			if hop != Guest { // its part is the tap's
				shown[hop] = true
			}
		}
	case h.Code != 0:
		shown[Proxy] = true
	case !h.Connected && (h.Refused || h.Unreachable || h.TimedOut):
		shown[Proxy] = false
	}
}
