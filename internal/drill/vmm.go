package drill

import (
	"context"
	"fmt"
	"syscall"

	"tapwatch/agent/path"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/vmm"
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
	{
		Name: "vmm-killed-tap-held", What: "the VMM gets SIGKILL, and another process still has its tap open",
		Hop: path.Tap, Expected: "vmm-exited",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			release, err := inheritTap(b.VMM.PID, b.Slot.Tap())
			if err != nil {
				return nil, err
			}
			b.atEnd = append(b.atEnd, release)
			return nil, b.signal(syscall.SIGKILL)
		},
	},
	{
		Name: "vmm-stopped", What: "the VMM gets SIGSTOP",
		Hop: path.Guest, Expected: "vmm-stopped",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return func() error { return b.signal(syscall.SIGCONT) }, b.signal(syscall.SIGSTOP)
		},
	},
	{
		Name: "vmm-frozen", What: "the control group of the VMM is frozen, while requests wait for it",
		Hop: path.Guest, Expected: "vmm-paused",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return freeze(b.VMM.PID)
		},
	},
	{
		Name: "vmm-throttled", What: "the control group of the VMM gets a hundredth of a CPU",
		Hop: path.Guest, Expected: "vmm-starved",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return inGroup(b.VMM.PID, []groupFile{{"cpu.max", "1000 100000", "max"}, {"cpu.cfs_quota_us", "1000", "-1"}})
		},
	},
	{
		Name: "guest-reboots", What: "the guest reboots, and its VMM ends with status 0",
		Hop: path.Tap, Expected: "vmm-exited",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			return nil, b.shell(ctx, `(sleep 0.2; busybox reboot -f) >/dev/null 2>&1 &`)
		},
	},
	{
		Name: "vmm-wrong-namespace", What: "the VMM runs in another namespace, on a tap of the same name",
		Hop: path.Tap, Expected: "vmm-elsewhere",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			ns, remove, err := otherNamespace()
			if err != nil {
				return nil, err
			}
			req.Alter = func(s *vmm.Spec) error {
				s.Netns = ns
				return makeTap(ns, s.NIC.Tap)
			}
			return remove, nil
		},
	},
	{
		Name: "tap-name-mismatch", What: "the VMM is told to use tap1",
		Hop: path.Tap, Expected: "vmm-other-tap",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Alter = func(s *vmm.Spec) error {
				s.NIC.Tap = "tap1"
				return makeTap(s.Netns, s.NIC.Tap)
			}
			return nil, nil
		},
	},
	{
		Name: "second-holder", What: "another process has the tap open, so the VMM gets EBUSY",
		Hop: path.Tap, Expected: "tap-busy",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			release := func() {}
			req.Alter = func(s *vmm.Spec) (err error) {
				release, err = holdTap(s.Netns, s.NIC.Tap)
				return err
			}
			return func() { release() }, nil
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
