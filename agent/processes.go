package agent

import (
	"time"

	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
)

// processes is what is known of those that listen. One of ours serves all slots,
// socats are one a slot: so few are read at a time, each seldom while it is well.
type processes struct {
	known  map[int]*process
	now    time.Time
	budget int // that may still be read this time
}

type process struct {
	path.Process
	read, used time.Time
}

const (
	// processesAtOnce is how many are read at a time: some 20 us each.
	processesAtOnce = 16
	// processEvery is how old what is known of one may be where it is well, and one of many.
	processEvery = 30 * time.Second
	// processSoon is the same for one that is near its limit or stopped, and for all of few.
	processSoon = time.Second
)

// begin begins a reading of listeners, and forgets processes that listen no more.
func (p *processes) begin(now time.Time) {
	p.budget = processesAtOnce
	for pid, one := range p.known {
		if one.used.Before(p.now) {
			delete(p.known, pid)
		}
	}
	p.now = now
	if p.known == nil {
		p.known = map[int]*process{}
	}
}

// of returns what is known of a process; pid 0 is an unknown one. Trouble is set
// where connections wait for it.
func (p *processes) of(pid int, trouble bool) path.Process {
	if pid == 0 {
		return path.Process{}
	}
	one := p.known[pid]
	if one == nil {
		one = &process{Process: path.Process{PID: pid}}
		p.known[pid] = one
	}
	one.used = p.now
	every := processEvery
	if trouble || one.NearLimit() || one.Stopped == path.Yes || len(p.known) <= processesAtOnce {
		every = processSoon
	}
	if p.budget > 0 && p.now.Sub(one.read) >= every {
		p.budget--
		if got, err := inspect.ProcessOf(pid); err == nil { // else it has ended: its socket will be gone
			one.Process, one.read = got, p.now
		}
	}
	return one.Process
}
