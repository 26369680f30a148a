package discover

import "time"

// Stats says how well discovery itself does.
type Stats struct {
	Ready      bool   // everything was read once
	Merges     uint64 // times that namespaces and owners were put together
	Errors     uint64 // things that could not be read
	LastError  string
	ProcsRead  uint64        // processes looked into by the last scan of them
	ProcsTook  time.Duration // its time
	NamesTook  time.Duration // of the last scan of all names
	MergeTook  time.Duration // of the last merge, its delivery included
	Namespaces int
}

// Stats returns the present state.
func (w *Watcher) Stats() Stats {
	w.mu.Lock()
	ready, n := w.ready, len(w.entries)
	w.mu.Unlock()
	c := &w.stats
	s := Stats{
		Ready:      ready,
		Merges:     c.scans.Load(),
		Errors:     c.errors.Load(),
		ProcsRead:  c.procsRead.Load(),
		ProcsTook:  time.Duration(c.procsTook.Load()),
		NamesTook:  time.Duration(c.namesTook.Load()),
		MergeTook:  time.Duration(c.mergeTook.Load()),
		Namespaces: n,
	}
	if e := c.lastError.Load(); e != nil {
		s.LastError = *e
	}
	return s
}
