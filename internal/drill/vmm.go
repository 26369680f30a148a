package drill

import (
	"context"
	"fmt"
	"syscall"

	"tapwatch/agent/path"
	"tapwatch/internal/sandbox"
)

// What can be wrong with the VMM.
var vmmFaults = []Fault{
	{
		Name: "vmm-never-attached", What: "the VMM starts without its network interface",
		Hop: path.Tap, Expected: "vmm-not-attached",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.NoNIC = true
			return nil, nil
		},
	},
	{
		Name: "vmm-killed", What: "the VMM gets SIGKILL",
		Hop: path.Tap, Expected: "vmm-exited",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return nil, b.signal(syscall.SIGKILL)
		},
	},
}

// signal sends a signal to the sandbox's VMM, and to no other process that may
// have its pid by now.
func (b *Box) signal(s syscall.Signal) error {
	if !b.VMM.Alive() {
		return fmt.Errorf("the VMM, pid %d, runs no more", b.VMM.PID)
	}
	if err := syscall.Kill(b.VMM.PID, s); err != nil {
		return fmt.Errorf("send %v to the VMM, pid %d: %w", s, b.VMM.PID, err)
	}
	return nil
}
