package agent

import (
	"context"
	"time"

	"tapwatch/agent/slots"
)

// freezers has a sandbox looked at when the kernel reports that the control group of its
// VMM is frozen, or goes on: pausing is routine, and nobody may ask for the sandbox by
// then. Version 1 reports nothing: what it freezes is found in turn, and where requests
// wait.
type freezers struct {
	watch *fileWatch
	file  map[slots.Process]string // of the watch's goroutine; empty: its group cannot be frozen
}

// run watches until the context ends.
func (z *freezers) run(ctx context.Context, i *inspector) {
	z.watch.run(ctx, i.slots.Bindings, func() bool { z.follow(i); return true }, i.asked.ask)
}

// follow watches the groups of the VMMs that there are. A VMM that is moved to another
// group later is found in turn, as is one whose group cannot be watched.
func (z *freezers) follow(i *inspector) {
	now, files := map[string][]slots.Key{}, map[slots.Process]string{}
	for _, t := range i.slots.Bound(nil) {
		if t.VMM.PID == 0 {
			continue
		}
		file, known := z.file[t.VMM]
		if !known {
			file = i.vmms.EventsFile(t.VMM.PID, time.Now())
		}
		if files[t.VMM] = file; file != "" {
			now[file] = append(now[file], t.Key)
		}
	}
	z.file = files
	z.watch.keep(now, func(string) bool { return true })
}
