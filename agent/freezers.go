package agent

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"

	"tapwatch/agent/slots"
)

// freezers has a sandbox looked at when the kernel reports that the control group of its
// VMM is frozen, or goes on: pausing is routine, and nobody may ask for the sandbox by
// then. Version 1 reports nothing: what it freezes is found in turn, and where requests
// wait.
type freezers struct {
	fs   *fsnotify.Watcher
	of   map[string][]slots.Key   // by file; of the goroutine alone, like what follows
	file map[slots.Process]string // empty: its group cannot be frozen
}

func newFreezers() (*freezers, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return &freezers{fs: fs, of: map[string][]slots.Key{}, file: map[slots.Process]string{}}, nil
}

// freezersEvery is how often the groups of new VMMs are looked for.
const freezersEvery = time.Second

// run watches until the context ends.
func (z *freezers) run(ctx context.Context, i *inspector) {
	tick := newTicks(freezersEvery)
	defer tick.Stop()
	for followed := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.again()
			if now := i.slots.Bindings(); now != followed {
				z.follow(i)
				followed = now
			}
		case e := <-z.fs.Events:
			i.asked.ask(z.of[e.Name]...)
		case err := <-z.fs.Errors: // an overflow: whose group froze meanwhile is not known
			i.log.Debug("frozen control groups are found in turn", "err", err)
		}
	}
}

// follow watches the groups of the VMMs that there are. A VMM that is moved to another
// group later is found in turn.
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
	for file := range z.of {
		if now[file] == nil {
			_ = z.fs.Remove(file) // it has gone by itself, as a rule
		}
	}
	for file := range now {
		if z.of[file] == nil {
			if err := z.fs.Add(file); err != nil {
				i.log.Debug("a frozen control group is found in turn only", "file", file, "err", err)
			}
		}
	}
	z.of = now
}

func (z *freezers) close() error {
	if z == nil {
		return nil
	}
	return z.fs.Close()
}
