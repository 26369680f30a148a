package path

import "time"

// Queue is the accept queue of a listening socket: connections that the kernel has
// made and the process has not taken. Max is 0 where it is unknown.
type Queue struct {
	Waiting   uint32    `json:"waiting"`
	Max       uint32    `json:"max"`
	FullSince time.Time `json:"full_since,omitzero"` // that no more are made; zero: it is not full
}

// Process is a process that a path depends on. What is not known is zero.
type Process struct {
	PID      int      `json:"pid,omitempty"`
	Command  string   `json:"command,omitempty"`
	Stopped  Tristate `json:"stopped"` // by SIGSTOP or a debugger
	Files    uint64   `json:"files,omitempty"`
	MaxFiles uint64   `json:"max_files,omitempty"` // RLIMIT_NOFILE, the soft one
}

// NearLimit says whether a twentieth of its file descriptors or less is free.
func (p Process) NearLimit() bool {
	return p.MaxFiles > 0 && p.Files > 0 && p.Files >= p.MaxFiles-p.MaxFiles/20
}

// Judged is what checks make something of, and what makes two listeners differ:
// a queue that is not full and files that are not many change all the time.
func (l Listener) Judged() Listener {
	if l.Queue.FullSince.IsZero() {
		l.Queue.Waiting = 0
	}
	if !l.Process.NearLimit() {
		l.Process.Files = 0
	}
	return l
}
