package drill

import (
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

const (
	guestMAC = e2b.GuestMAC
	// nobody is whom a stand-in runs as that may not open its tap, another its owner.
	nobody, another = 65534, 4242
	// foreignBoot is how long a VMM of another launcher may boot until the agent
	// calls it broken.
	foreignBoot = 30 * time.Second
)

// What can be wrong with a Firecracker that another launched, in a slot of E2B's
// topology: a stand-in, since a real one is not to be had everywhere.
var foreignFaults = []Fault{
	{
		Name: "fc-no-nic", What: "a Firecracker was given no network interface",
		Hop: path.Tap, Expected: "vmm-no-nic", Foreign: &standIn{State: path.VMMRunning},
	},
	{
		Name: "fc-not-started", What: "a Firecracker was never told to start its guest",
		Hop: path.Guest, Expected: "vmm-not-started", Foreign: attached(path.VMMNotStarted),
	},
	{
		Name: "fc-paused", What: "a Firecracker's vCPUs are paused, while requests wait for its guest",
		Hop: path.Guest, Expected: "vmm-paused", Foreign: attached(path.VMMPaused),
		Harm: func(slot network.Slot, _ *os.Process) error {
			go askGuest(slot)
			return nil
		},
	},
	{
		Name: "fc-memory-stalls", What: "nobody answers the page faults of a Firecracker (userfaultfd)",
		Hop: path.Guest, Expected: "vmm-blocked", Foreign: stalling(attached(path.VMMRunning)),
	},
	{
		Name: "fc-api-silent", What: "a Firecracker answers neither its API nor for its guest",
		Hop: path.Guest, Expected: "vmm-api-silent", Foreign: attached(""),
	},
	{
		Name: "fc-no-vnet-hdr", What: "a Firecracker's tap is open without the header that its frames have",
		Hop: path.Tap, Expected: "tap-no-vnet-hdr", Foreign: &standIn{State: path.VMMRunning, NIC: true, Attach: true},
	},
	{
		Name: "fc-zombie", What: "another than its launcher kills a Firecracker, and its launcher does not wait for it",
		Hop: path.Tap, Expected: "vmm-zombie", Foreign: unreaped(attached(path.VMMRunning)),
		Harm: func(_ network.Slot, vmm *os.Process) error { return killByAnother(vmm.Pid) },
	},
	{
		Name: "neighbour-stale", What: "the namespace has another hardware address for a Firecracker's guest, for good",
		Hop: path.Guest, Expected: "guest-mac-mismatch", Foreign: attached(path.VMMRunning),
		Slot: changed(func(s network.Slot) error {
			return inNetns(s.Netns(), s.Tap(), func(l netlink.Link) error {
				return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: s.GuestIP().AsSlice(), HardwareAddr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 0x77}})
			})
		}),
	},
	{
		Name: "tap-of-another", What: "the tap belongs to another user than a Firecracker without privileges",
		Hop: path.Tap, Expected: "tap-owner", Foreign: &standIn{State: path.VMMRunning}, User: nobody,
		Slot: changed(func(s network.Slot) error {
			return netns.Do(s.Netns(), func() error {
				tap, err := openTap(s.Tap(), unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
				if err != nil {
					return err
				}
				defer tap.Close()
				return unix.IoctlSetInt(int(tap.Fd()), unix.TUNSETOWNER, another)
			})
		}),
	},
	{
		Name: "tap-multi-queue", What: "the tap is multi-queue, so a Firecracker could not open it",
		Hop: path.Tap, Expected: "tap-multi-queue", Foreign: &standIn{State: path.VMMRunning},
		Slot: changed(remakeMultiQueue),
	},
}

// changed is a change of a slot that goes with the slot.
func changed(do func(network.Slot) error) func(network.Slot) (func(), error) {
	return func(s network.Slot) (func(), error) { return func() {}, do(s) }
}

// remakeMultiQueue replaces a slot's tap by one that was made with IFF_MULTI_QUEUE.
func remakeMultiQueue(s network.Slot) error {
	err := inNetns(s.Netns(), s.Tap(), netlink.LinkDel)
	if err != nil {
		return err
	}
	err = netns.Do(s.Netns(), func() error {
		tap, err := openTap(s.Tap(), unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR|unix.IFF_MULTI_QUEUE)
		if err != nil {
			return err
		}
		defer tap.Close()
		return unix.IoctlSetInt(int(tap.Fd()), unix.TUNSETPERSIST, 1)
	})
	if err != nil {
		return err
	}
	return inNetns(s.Netns(), s.Tap(), furnish(s))
}
