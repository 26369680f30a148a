package agent

import (
	"context"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/slots"
)

// judge runs the checks wherever facts have changed, without the lock of the slots.
type judge struct {
	slots *slots.Slots
	wake  *asker
}

func newJudge(s *slots.Slots) *judge { return &judge{slots: s, wake: newAsker(0, 0, 0)} }

func (j *judge) run(ctx context.Context) {
	j.wake.run(ctx, func([]slots.Key) { j.all() })
}

// all judges what is due now.
func (j *judge) all() {
	for cases := j.slots.Cases(); len(cases) > 0; cases = j.slots.Cases() {
		for _, c := range cases {
			facts := c.Facts
			if c.Blind { // what is hidden is no silence
				facts.Traffic = nil
			}
			d := diagnose.RunKnowing(facts, c.Known)
			j.slots.TakeVerdict(c, d, diagnose.Passing(d))
		}
	}
}
