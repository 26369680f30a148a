package metrics

import (
	"strconv"
	"time"

	"tapwatch/agent/path"
)

// Counted is what has happened on the host since the agent began.
type Counted struct {
	Found, Cleared map[string]uint64 // findings, by code
	States         map[path.State]uint64
	Created        uint64            // sandboxes
	Ended          map[string]uint64 // by reason
	Failed         map[path.Hop]uint64
	BootFailures   map[string]uint64 // by reason
	Exits          map[Exit]uint64   // of VMMs
}

// Exit is how a VMM ended: Signal is empty where it exited, with that status.
type Exit struct {
	Signal, Status string
	Wanted         bool
}

// Collected is how one part of the agent fared with the kernel.
type Collected struct {
	Success  time.Time // the last; zero: none yet
	Took     time.Duration
	Failures uint64
}

// pathStates are those of a path with a sandbox.
var pathStates = []path.State{path.OK, path.Broken, path.Undecided, path.Booting, path.Paused}

// happened sends the counters of what may come and go between two scrapes. Each is there
// from the start, at 0: a series that appears has no increase.
func (e emitter) happened(s *Snapshot) {
	c := &s.Counted
	for code, n := range c.Found {
		e.counter(findingsFound, n, code)
	}
	for code, n := range c.Cleared {
		e.counter(findingsCleared, n, code)
	}
	for _, state := range pathStates {
		e.counter(pathTransitions, c.States[state], string(state))
	}
	e.counter(sandboxesCreated, c.Created)
	for _, reason := range []string{"removed", "vmm_failed", "unknown"} {
		e.counter(sandboxesEnded, c.Ended[reason], reason)
	}
	for _, hop := range path.Hops {
		e.counter(sandboxesFailed, c.Failed[hop], string(hop))
	}
	for _, reason := range []string{"ended", "timeout"} {
		e.counter(bootFailures, c.BootFailures[reason], reason)
	}
	for x, n := range c.Exits {
		e.counter(vmmExits, n, x.Signal, x.Status, strconv.FormatBool(x.Wanted))
	}
	for name, did := range s.Collectors {
		if !did.Success.IsZero() {
			e.gauge(collectorSuccess, float64(did.Success.UnixMilli())/1000, name)
			e.gauge(collectorDuration, did.Took.Seconds(), name)
		}
		e.counter(collectorFailures, did.Failures, name)
	}
}
