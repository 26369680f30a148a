// Package sandbox launches sandboxes and keeps them: a Manager binds a VM to a
// slot, puts the data path in front of it, and removes all of it at its end.
package sandbox

import (
	"errors"
	"time"

	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
	"tapwatch/internal/sandbox/vmm"
)

var (
	// ErrNotFound is returned for an id that no sandbox of the manager has.
	ErrNotFound = errors.New("sandbox not found")
	// ErrClosed is returned by a manager that was closed.
	ErrClosed = errors.New("launcher is closed")
	// ErrKilled is why a sandbox did not boot that was killed meanwhile.
	ErrKilled = errors.New("sandbox was killed while it booted")
)

// CreateRequest says what to launch. Only Template is needed.
type CreateRequest struct {
	Template string            // alias, template id or build id
	Name     string            // a label for people
	Timeout  time.Duration     // of the sandbox's life from when it runs; 0 means DefaultTimeout
	Metadata map[string]string // kept, and handed out again
	EnvVars  map[string]string // of every command in the sandbox
	Owner    string            // whose it is: a quota is of one owner
	Secure   bool              // envd wants an access token from then on
	Path     registry.Shape    // how the proxy reaches it; "" means the manager's

	// NoInternet keeps the guest from public addresses too. Only a dnat path has a way
	// to them at all.
	NoInternet bool

	// NoNIC starts the VMM without its NIC, so that it never attaches to the tap,
	// as after an API call that was missed: a drill.
	NoNIC bool
	// Alter changes what the VMM is started with, right before its start: a drill.
	Alter func(*vmm.Spec) error
	// Keep keeps a sandbox that does not come up, as Failed, for a look, until it
	// is killed or its timeout has passed.
	Keep bool
	// BootTimeout is how long it may take until envd answers; 0 means the manager's.
	BootTimeout time.Duration
}

// Sandbox is a snapshot of one sandbox.
type Sandbox struct {
	ID          string
	TemplateID  string
	BuildID     string
	Alias       string // of the template; empty where it has none
	TemplateDir string // of the build's image and metadata
	Name        string
	AccessToken string // empty unless Secure
	EnvdVersion string // empty where it is not known
	State       registry.State
	Reason      string // why Failed
	CreatedAt   time.Time
	EndAt       time.Time // when it will be killed
	Slot        network.Slot
	Path        registry.Shape
	VMM         proc.Process // zero until it was started
	Console     string       // file with the guest's serial console
	VCPUs       int
	MemoryMiB   int
	Metadata    map[string]string // not to be written to
}

func (s Sandbox) record() *registry.Sandbox {
	return &registry.Sandbox{
		ID: s.ID, Name: s.Name, TemplateID: s.TemplateID, BuildID: s.BuildID, Alias: s.Alias, TemplateDir: s.TemplateDir,
		State: s.State, Reason: s.Reason,
		VMM: "qemu", VMMProcess: s.VMM, Console: s.Console, Shape: s.Path,
		CreatedAt: s.CreatedAt, EndAt: s.EndAt, Metadata: s.Metadata,
	}
}
