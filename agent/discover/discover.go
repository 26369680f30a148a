// Package discover finds the network namespaces of a host, the agent's own among
// them, whose slots they are by records and by names, and which processes in them are
// VMMs by their command lines. It keeps no namespace alive.
package discover

import (
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// Namespace is one network namespace. Its identity is the cookie; names come and go,
// and one namespace may have several.
type Namespace struct {
	Cookie netns.Cookie
	Host   bool       // it is the agent's own
	Name   string     // under netns.Dir; empty where it has none
	Last   string     // the name that it had before it lost it; empty: none
	Names  []string   // all of them under netns.Dir, sorted
	NSID   netns.NSID // in the agent's namespace; netns.NoNSID: could not be given, or the agent's own
	Inode  uint64     // reused by the kernel at once: for display only
	Path   string     // a file to enter it by; empty where none is known
}

// HostName is what the agent's own namespace is called.
const HostName = "host"

// Label is how people and series call the namespace: by its name, by the one that it
// had, else as the kernel calls it in /proc/PID/ns/net. It is never empty, and no two
// namespaces have one at the same time.
func (n *Namespace) Label() string {
	switch {
	case n.Host:
		return HostName
	case n.Name == HostName || n.Last == HostName: // not to be taken for the agent's own
		return netns.Path(HostName)
	case n.Name != "":
		return n.Name
	case n.Last != "":
		return n.Last
	}
	return "net:[" + strconv.FormatUint(n.Inode, 10) + "]"
}

// Linked says that the kernel reports the links of the namespace.
func (n *Namespace) Linked() bool { return n.Host || n.NSID != netns.NoNSID }

// Addrs are the addresses that a launcher means a slot to have; zero ones are not
// known.
type Addrs struct {
	Vpeer  netip.Addr // of the namespace's end of the veth pair
	Client netip.Addr // of the host's end
	Host   netip.Addr // by which the host reaches the guest, in dnat paths
	Tap    netip.Addr // the host's on the tap
	Guest  netip.Addr
}

// Slot is what a launcher means a namespace for.
type Slot struct {
	Launcher string // tapwatch, or the rule that knows the namespace's name
	Tap      string
	HostVeth string
	Addrs    Addrs
	Record   *registry.Slot // nil: nothing but the name says it
	// OwnerAlive says of a record whether the launcher that wrote it runs, VMMAlive
	// whether the VMM of its sandbox does. A zombie does not.
	OwnerAlive, VMMAlive path.Tristate
}

// Entry is a namespace, whose slot it is (nil: nobody's) and the processes in it that
// say they are VMMs, the eldest first. A published Entry is never changed again.
type Entry struct {
	Namespace
	Slot *Slot
	VMMs []*VMM
}

func (e *Entry) equal(o *Entry) bool {
	return e.Cookie == o.Cookie && e.Name == o.Name && e.Last == o.Last && slices.Equal(e.Names, o.Names) &&
		e.NSID == o.NSID && e.Inode == o.Inode && e.Path == o.Path && e.Slot.equal(o.Slot) && slices.Equal(e.VMMs, o.VMMs)
}

func (s *Slot) equal(o *Slot) bool {
	if s == nil || o == nil || s == o {
		return s == o
	}
	a, b := *s, *o
	a.Record, b.Record = nil, nil
	return a == b && sameRecord(s.Record, o.Record)
}

func sameRecord(a, b *registry.Slot) bool {
	if a == nil || b == nil {
		return a == b
	}
	x, y := *a, *b
	x.Sandbox, y.Sandbox = nil, nil
	return x == y && (a.Sandbox == b.Sandbox || reflect.DeepEqual(a.Sandbox, b.Sandbox))
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
