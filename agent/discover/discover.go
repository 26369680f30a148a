// Package discover finds the network namespaces of a host and whose they are:
// slots of a launcher that keeps records, of foreign Firecracker processes, idle
// slots of E2B's name, or none of ours. It keeps no namespace alive.
package discover

import (
	"slices"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// Namespace is one network namespace other than the agent's own. Its identity
// is the cookie; names come and go, and one namespace may have several.
type Namespace struct {
	Cookie netns.Cookie
	Name   string     // a label; empty where it has none (any more)
	Names  []string   // all of them under netns.Dir, sorted
	NSID   netns.NSID // in the agent's namespace; netns.NoNSID: could not be given
	Inode  uint64     // reused by the kernel at once: for display only
	Path   string     // a file to enter it by; empty where none is known
}

// Source says who told whose a namespace is.
type Source string

// The sources of a Binding.
const (
	Tapwatch    Source = "tapwatch"    // the record of a launcher
	Firecracker Source = "firecracker" // a process that is in it
	E2B         Source = "e2b"         // nothing but its name
)

// Binding says whose slot a namespace is. Strings that are not known are empty.
type Binding struct {
	Source   Source
	Index    int // of the slot; 0: unknown
	HostVeth string
	Tap      string
	VpeerIP  string
	HostIP   string // by which the kernel passes on to the guest, in dnat paths
	GuestIP  string
	// OwnerAlive says of a record whether the launcher that wrote it runs.
	OwnerAlive path.Tristate

	// Idle is true where no sandbox is bound to the slot: that its tap has no
	// carrier is then as it should be, and what follows is empty.
	Idle       bool
	SandboxID  string
	Name       string // a label for people
	TemplateID string
	BuildID    string
	Alias      string
	// TemplateDir holds the image that the sandbox boots from.
	TemplateDir string
	State       registry.State // empty: unknown
	Reason      string         // why Failed
	Shape       registry.Shape // of the path
	Console     string         // log file
	CreatedAt   time.Time      // UTC; of a foreign VMM its process's start; zero: unknown
	VMM         proc.Process
	VMMAlive    path.Tristate // a zombie is not
	APISocket   string        // of the VMM, as it sees it; empty: it has none, or none is known
	// VMMs counts the Firecracker processes found in the namespace: with two,
	// the elder may still hold the tap.
	VMMs int
}

// Entry is a namespace and its binding, nil where it is none of ours. A published
// Entry is never changed again.
type Entry struct {
	Namespace
	Binding *Binding
}

func (e *Entry) equal(o *Entry) bool {
	if (e.Binding == nil) != (o.Binding == nil) {
		return false
	}
	return e.Cookie == o.Cookie && e.Name == o.Name && slices.Equal(e.Names, o.Names) &&
		e.NSID == o.NSID && e.Inode == o.Inode && e.Path == o.Path &&
		(e.Binding == nil || *e.Binding == *o.Binding)
}

// Change is one step of one namespace. Old is nil where it is new, New where it
// has gone.
type Change struct {
	Time time.Time
	Old  *Entry
	New  *Entry
}

// Cookie returns the namespace's identity.
func (c Change) Cookie() netns.Cookie {
	if c.New != nil {
		return c.New.Cookie
	}
	return c.Old.Cookie
}
