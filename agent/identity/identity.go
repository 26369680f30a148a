// Package identity says who is who on a host: which sandbox a tap belongs to,
// who launched it, and which process is a VMM. It is rules over facts that others
// have read. It reads nothing itself. The rules of known launchers are data, in
// presets.yaml; an operator's rules come before them.
//
// A Set may be used by many goroutines at once.
package identity

import (
	"net/netip"
	"time"
)

// Role says what a tap is for.
type Role string

// The roles. RoleUnknown is the role of a tap that no rule knows.
const (
	RoleUnknown Role = "unknown"
	RoleVMM     Role = "vmm"    // a virtual machine's
	RoleSlot    Role = "slot"   // a launcher keeps it ready for one
	RoleIgnore  Role = "ignore" // nobody wants to hear of it
)

// Facts are what is known of one tap and of the process that holds it, or of a
// process alone. A fact that is not known is empty, and no rule that asks for it
// holds. All strings are raw, as the kernel has them.
type Facts struct {
	// Netns is the name of the tap's namespace, or of the process's. Only root can
	// name one where the agent looks; a name from elsewhere proves nothing (Claim).
	Netns  string
	Host   bool   // the namespace is the agent's own
	Device string // name of the tap; empty for a process without one
	Kind   string // of the device: "tap", "macvtap"

	Command string   // /proc/PID/comm, at most 15 bytes
	Args    []string // /proc/PID/cmdline, with the program's own name first
	Exe     string   // where /proc/PID/exe leads, without " (deleted)"
	// Root is the process's root directory as the agent sees it: "/" or a jail. For a
	// process that called pivot_root, /proc/PID/root leads to "/". Its real root, seen
	// from the file system that holds it, is the fourth field of /proc/PID/mountinfo,
	// in the line of the mount point "/".
	Root   string
	Cwd    string // as the process sees it; a relative API socket is below it
	Cgroup string // its path in the unified hierarchy, or any that names it
	UID    uint32 // effective, as the agent's user namespace has it; NoUID where not known

	// APISocket is the path of the VMM's API as the process sees it. Empty: it is
	// read from the arguments.
	APISocket string

	// What a record says, which is above all rules: no rule overrides it, and those
	// that only add labels add theirs. Launcher empty: there is no record.
	Launcher, SandboxID, Name, Template string
}

// NoUID is nobody's: of a process that could not be looked into, and of a user
// that the agent's user namespace does not have.
const NoUID = ^uint32(0)

// Identity is what the rules make of Facts. All strings are clean (package
// internal/clean) and safe for a terminal or a label.
type Identity struct {
	SandboxID string // empty: unidentified
	Name      string // by which people know the sandbox
	Template  string
	Team      string
	Launcher  string // of the preset, or the name of the operator's rule
	Slot      string // the launcher's number of the slot
	Role      Role
	Rule      string // the rule that gave the identity; "record"; empty: none

	// APISocket is an absolute path as the process sees it: whoever dials it goes
	// through /proc/PID/root. It is empty where none is known, and where the path
	// holds what is not safe to show.
	APISocket string

	Labels  map[string]string // of groups, nil for none, at most MaxLabels
	Silence Silence
	Expect  Expect
}

// Unidentified reports whether no rule says which sandbox this is.
func (i Identity) Unidentified() bool { return i.SandboxID == "" }

// Silence is for how long nobody wants to hear of a sandbox or a namespace.
type Silence struct {
	Until  time.Time // zero: not silenced
	Reason string
	Rule   string
}

// Active reports whether the silence holds at a time.
func (s Silence) Active(now time.Time) bool { return now.Before(s.Until) }

// Expect is what the launcher's plan says about a tap that its rule knows. It is
// assumed, never seen: it is the last resort where the kernel shows no address,
// and no ground for a critical finding. Zero: the plan is not known.
type Expect struct {
	Tap        string       // its name
	TapAddress netip.Prefix // on the tap
	Guest      netip.Addr   // of eth0 in the guest
}

// Assumed reports whether the plan says anything.
func (e Expect) Assumed() bool { return e != Expect{} }
