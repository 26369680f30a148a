package drill

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

// What can be wrong with a Firecracker of another launcher that does not find its tap, or
// finds it taken. A Firecracker makes a tap that is not there, and does not say so.
var astrayFaults = []Fault{
	{
		Name: "fc-misplaced", What: "a Firecracker runs in a namespace that is no slot, and makes its own tap there",
		Hop: path.Tap, Expected: "vmm-misplaced", Foreign: attached(path.VMMRunning), Astray: true,
	},
	{
		Name: "fc-own-tap", What: "a slot's tap was made in another namespace, and its Firecracker makes one of its own",
		Hop: path.Tap, Expected: "tap-elsewhere", Foreign: attached(path.VMMRunning),
		Slot: func(s network.Slot) (func(), error) {
			ns, remove, err := otherNamespace()
			if err != nil {
				return nil, err
			}
			if err := moveLink(s.Netns(), ns, s.Tap()); err != nil {
				remove()
				return nil, err
			}
			return remove, nil
		},
	},
	{
		Name: "fc-own-tap-killed", What: "a Firecracker made its tap by itself and gets SIGKILL: the tap goes with it",
		Hop: path.Tap, Expected: "vmm-exited", Foreign: attached(path.VMMRunning),
		Slot: changed(func(s network.Slot) error { return inNetns(s.Netns(), s.Tap(), netlink.LinkDel) }),
		Harm: func(_ network.Slot, vmm *os.Process) error { return killByAnother(vmm.Pid) },
	},
	{
		Name: "fc-second", What: "a second Firecracker is started for the tap that another has open",
		Hop: path.Tap, Expected: "tap-busy", Foreign: &standIn{State: path.VMMNotStarted}, Elder: attached(path.VMMRunning),
	},
	{
		Name: "tap-is-veth", What: "the device with the tap's name is an end of a veth pair",
		Hop: path.Tap, Expected: "tap-wrong-kind", Foreign: &standIn{State: path.VMMRunning},
		Slot: changed(remakeAsVeth),
	},
}

// killByAnother kills a process from a shell, which did not launch it. The agent takes
// the end of a VMM for wanted where its own launcher kills it.
func killByAnother(pid int) error {
	out, err := exec.CommandContext(context.Background(), "sh", "-c", `kill -KILL "$0"`, strconv.Itoa(pid)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kill pid %d: %w: %s", pid, err, out)
	}
	return nil
}

// remakeAsVeth replaces a slot's tap by a veth pair, one end of which has its name.
func remakeAsVeth(s network.Slot) error {
	if err := inNetns(s.Netns(), s.Tap(), netlink.LinkDel); err != nil {
		return err
	}
	const peer = "drill-peer"
	err := netns.Do(s.Netns(), func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: s.Tap()}, PeerName: peer})
	})
	if err != nil {
		return fmt.Errorf("make %s in %s: %w", s.Tap(), s.Netns(), err)
	}
	if err := inNetns(s.Netns(), peer, netlink.LinkSetUp); err != nil {
		return err
	}
	return inNetns(s.Netns(), s.Tap(), furnish(s))
}
