package probe

import "fmt"

// Cleaned is what Cleanup has found.
type Cleaned struct {
	Own     int    // devices cleaned of the hooks of the directory's agent
	Orphans int    // devices cleaned of hooks of dead agents whose directory has gone
	Left    []Left // whose hooks were left, in the order of their owners
}

// Left is one owner's hooks that Cleanup left where they are.
type Left struct {
	Owner   Owner // zero: filters of an older version, which did not say
	Dir     string
	Devices int
	Agent   *Living // nil: none lives
}

func (l Left) String() string {
	s := fmt.Sprintf("hooks on %d taps: ", l.Devices)
	switch {
	case l.Owner == 0:
		return s + "an older version of tapwatch made them, and whether its agent lives is unknown"
	case l.Agent == nil:
		return s + fmt.Sprintf("the agent with its hooks in %q does not run; start it again, or clean up with its --run-dir", l.Dir)
	case l.Agent.PID == 0:
		return s + fmt.Sprintf("their agent lives, with its hooks in %q", l.Dir)
	case l.Agent.HasOurPIDs():
		return s + fmt.Sprintf("their agent lives: pid %d, with its hooks in %q", l.Agent.PID, l.Dir)
	}
	return s + fmt.Sprintf("their agent lives: pid %d of another PID namespace, with its hooks in %q there", l.Agent.PID, l.Dir)
}
