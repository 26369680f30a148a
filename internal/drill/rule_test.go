package drill

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

func TestBreach(t *testing.T) {
	start := time.Unix(1_000, 0)
	for name, c := range map[string]struct {
		before, answered, failed int // requests
		state                    path.State
		breach                   bool
	}{
		"all answered, ok":            {0, 3, 0, path.OK, false},
		"all answered, broken":        {0, 3, 0, path.Broken, true},
		"some answered, broken":       {0, 3, 1, path.Broken, false},
		"none answered, ok":           {0, 0, 3, path.OK, true},
		"none answered, unknown":      {0, 0, 3, path.Undecided, false},
		"none answered, broken":       {0, 0, 3, path.Broken, false},
		"too few to say":              {0, 0, 2, path.OK, false},
		"what began before is not it": {9, 0, 2, path.Broken, false},
	} {
		t.Run(name, func(t *testing.T) {
			var all clients
			note := func(n int, began time.Time, answered bool) {
				for range n {
					all.note(request{began, began.Add(time.Second), answered})
				}
			}
			note(c.before, start.Add(-time.Second), true)
			note(c.answered, start.Add(time.Second), true)
			note(c.failed, start.Add(time.Second), false)
			if got := all.breach(path.Diagnosis{State: c.state}, start); (got != "") != c.breach {
				t.Errorf("%q", got)
			}
		})
	}
}
