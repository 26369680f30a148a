package discover

import (
	"maps"

	"tapwatch/agent/path"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// nested is the processes of records that were seen here, in a PID namespace that has
// not all processes of the host. A record gives numbers as its launcher has them: a
// process that was never seen may run where /proc does not show it, and its number may
// be that of another here. Its start tells the two apart.
type nested map[proc.Process]bool

// alive is aliveOf, but unknown for what was never seen.
func (n nested) alive(p proc.Process) path.Tristate {
	if state, err := p.State(); err == nil {
		n[p] = true
		return path.Known(!state.Ended())
	}
	if !n[p] {
		return path.Unknown
	}
	return aliveOf(p)
}

// visible returns the records without the processes that were never seen here.
func (n nested) visible(records []registry.Slot) []registry.Slot {
	are := map[proc.Process]bool{}
	see := func(p *proc.Process) {
		if n.alive(*p); !n[*p] {
			*p = proc.Process{}
		}
		are[*p] = true
	}
	out := make([]registry.Slot, 0, len(records))
	for _, r := range records {
		see(&r.Owner)
		if r.Sandbox != nil {
			s := *r.Sandbox
			see(&s.VMMProcess)
			r.Sandbox = &s
		}
		out = append(out, r)
	}
	maps.DeleteFunc(n, func(p proc.Process, _ bool) bool { return !are[p] })
	return out
}

// recorded returns the records, and how to tell whether a process of theirs lives.
func (w *Watcher) recorded() ([]registry.Slot, func(proc.Process) path.Tristate) {
	records := w.records.Slots()
	if !w.cfg.Nested {
		return records, aliveOf
	}
	return w.nested.visible(records), w.nested.alive
}
