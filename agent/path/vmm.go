package path

import (
	"slices"
	"time"
)

// VMMAPI is what a VMM said when it was asked by its own API.
type VMMAPI struct {
	Time   time.Time `json:"time"` // of the question
	Socket string    `json:"socket"`
	// Error is why not all was learned; empty: it answered, and what follows is known.
	Error string `json:"error,omitempty"`
	Gone  bool   `json:"gone,omitempty"` // nobody takes connections at the socket
	// Answered is set where it did answer, though nothing was learned of it.
	Answered bool `json:"answered,omitempty"`
	// SilentSince is the first of the questions that all went without an answer
	// since; zero: the last was answered.
	SilentSince time.Time      `json:"silent_since,omitzero"`
	State       string         `json:"state,omitempty"`
	Interfaces  []VMMInterface `json:"interfaces"` // nil: unknown
}

// The states of a Firecracker, in its own words.
const (
	VMMRunning    = "Running"
	VMMPaused     = "Paused"
	VMMNotStarted = "Not started"
)

// VMMInterface is a network interface that a VMM was told to give its guest.
type VMMInterface struct {
	ID       string `json:"id"`
	Device   string `json:"device"`              // host_dev_name
	GuestMAC string `json:"guest_mac,omitempty"` // empty: the guest's own choice
}

// User is whom the kernel takes a process for.
type User struct {
	UID      uint32   `json:"uid"`  // effective
	GIDs     []uint32 `json:"gids"` // the effective one, and the supplementary ones
	NetAdmin Tristate `json:"net_admin"`
}

// MayOpen says whether that process may open the tap, by the rule of tun_not_capable
// in drivers/net/tun.c.
func (u User) MayOpen(t Tun) Tristate {
	mine := t.Owner == nil || *t.Owner == u.UID
	ours := t.Group == nil || slices.Contains(u.GIDs, *t.Group)
	if mine && ours {
		return Yes
	}
	return u.NetAdmin
}

// VMMProcess is what /proc and the control groups say of a VMM's process. What takes two
// looks to tell is unknown after the first.
type VMMProcess struct {
	// Tracer is the debugger that is attached to it; nil: none, or unknown.
	Tracer *Holder `json:"tracer,omitempty"`
	Cgroup Cgroup  `json:"cgroup"`
	// Stuck is threads that have not run since, and wait for what the kernel does for
	// them, a few of many.
	Stuck []StuckThread `json:"stuck,omitempty"`
	VCPUs *VCPUs        `json:"vcpus,omitempty"` // nil: unknown
	// Pressure is that of its control group, else the host's; nil: unknown.
	Pressure *Pressure `json:"pressure,omitempty"`
}

// Pressure is in how many percent of the last ten seconds something waited for a
// resource, by the kernel's pressure stall information.
type Pressure struct {
	Of     string  `json:"of"` // the control group's directory; empty: the host
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	IO     float64 `json:"io"`
}

// Cgroup is what control groups do to a process: its own one and those above it.
type Cgroup struct {
	Path   string   `json:"path,omitempty"` // of the unified hierarchy, else of the freezer's; empty: unknown
	Frozen Tristate `json:"frozen"`
	// FreezerFile is the file that says so, and FreezerThaws what is to be written
	// where, as a command; empty: it is not frozen.
	FreezerFile  string `json:"freezer_file,omitempty"`
	FreezerThaws string `json:"freezer_thaws,omitempty"`
	// Throttle is how the CPU quota held it back between two looks; nil: there is none,
	// or it is unknown.
	Throttle *Throttle `json:"throttle,omitempty"`
}

// Throttle is how a CPU quota held a control group back.
type Throttle struct {
	File      string        `json:"file"`      // that sets the quota
	CPUs      float64       `json:"cpus"`      // the quota
	Periods   uint64        `json:"periods"`   // that the group wanted to run in
	Throttled uint64        `json:"throttled"` // of these, where the quota did not last
	Over      time.Duration `json:"over_ns"`
}

// Share is the part of the periods in which the quota did not last.
func (t *Throttle) Share() float64 { return float64(t.Throttled) / float64(t.Periods) }

// StuckThread is a thread that waits in the kernel, or is stopped by itself.
type StuckThread struct {
	TID     int       `json:"tid"`
	Command string    `json:"command"`
	State   string    `json:"state"`           // of /proc/PID/task/TID/stat: D, S, T or t
	Where   string    `json:"where,omitempty"` // wchan; empty: not readable
	Since   time.Time `json:"since"`           // it was first seen there, and has not run since
}

// FaultsByUser is the wchan of a thread whose page fault a program is to answer, by
// userfaultfd.
const FaultsByUser = "handle_userfault"

// VCPUs is what the threads of a VMM that run its vCPUs did between two looks.
type VCPUs struct {
	Threads int `json:"threads"`
	// Named says that the threads are known by their names; else they are all but the
	// process's first.
	Named bool          `json:"named"`
	Ran   float64       `json:"ran"`  // CPUs that they used
	Lack  float64       `json:"lack"` // CPUs that they waited for
	Runs  uint64        `json:"runs"` // how often one began to run
	Over  time.Duration `json:"over_ns"`
}

// PausedBy is who says that a VMM is paused on purpose.
type PausedBy string

// Who says so.
const (
	ByAPI    PausedBy = "api"
	ByRecord PausedBy = "record"
	ByCgroup PausedBy = "cgroup"
)

// String says who it is, in the middle of a sentence.
func (by PausedBy) String() string {
	switch by {
	case ByAPI:
		return "its API"
	case ByCgroup:
		return "the freezer of its control group"
	case ByRecord:
		return "its launcher"
	}
	return "nobody"
}

// PausedBy says who has the VM paused; "": nobody, as far as is known. A guest that has
// sent a frame since its VMM was asked is paused no more.
func (f *Facts) PausedBy() PausedBy {
	b := f.Sandbox
	switch {
	case b == nil || b.VMMAlive == No:
	case b.Process != nil && b.Process.Cgroup.Frozen == Yes:
		return ByCgroup
	case b.API != nil && b.API.State == VMMPaused && (f.Traffic == nil || !f.Traffic.LastReceive.After(b.API.Time)):
		return ByAPI
	case b.Paused:
		return ByRecord
	}
	return ""
}
