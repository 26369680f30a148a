// Package topology reads from the kernel how requests reach the guest behind one tap:
// which addresses the tap, the namespace and the host have, whether a rule or a bridge
// leads to the guest, and what the guest's own address is. It needs no plan of any
// launcher, holds nothing open, and changes nothing.
package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
	"tapwatch/internal/registry"
)

// ErrGone is returned for a tap, or a namespace, that does not exist any more.
var ErrGone = errors.New("no such tap")

// Where an address is known from. The first is trusted most.
const (
	FromRecord    = "record"         // the launcher's record
	FromVMM       = "vmm"            // ip= of the boot arguments that the VMM tells
	FromFrames    = "guest's frames" // what the hook learned
	FromDNAT      = "dnat rule"
	FromNeighbour = "neighbour" // the kernel's table of ARP answers
	FromSubnet    = "subnet"    // the only other address of the tap's network
	FromPlan      = "plan"      // a launcher's usual address: assumed
)

// Addr is an address and where it is known from. The zero Addr is unknown.
type Addr struct {
	netip.Addr
	From string
}

// Assumed says that nothing on this machine shows the address: a finding that rests
// on it must not be critical.
func (a Addr) Assumed() bool { return a.From == FromPlan }

// Tap says which tap to read, and what is known of its guest from elsewhere.
type Tap struct {
	Netns   string // path or name of its namespace, as netns.Open takes it; "": our own
	Ifindex netns.Ifindex
	// Port is the service's: a DNAT rule for other ports alone is not the path of
	// requests. 0: rules for any port are.
	Port uint16
	// Addresses of the guest that others know; not valid: unknown. Plan is used where
	// nothing else is found.
	Record, VMM, Frames, Plan netip.Addr
}

// Topology is what the kernel says of one tap. What could not be read is in Unread,
// and its fields are then zero.
type Topology struct {
	// Shape is DNAT, Routed, Bridged or, where only the listeners can tell, empty: see
	// Decide.
	Shape registry.Shape
	Name  string // of the tap now
	Kind  string // IFLA_INFO_KIND: tun, macvtap, veth, ifb; "": a physical device
	OwnNS bool   // the tap is in our own namespace, the host's

	Bridge   string         // the bridge that the tap is a port of; "": none
	TapAddrs []netip.Prefix // of the bridge, else of the tap; nil: unknown

	Guest Addr
	// DNATTo is where a DNAT rule leads that reaches the tap's network. A guest with
	// another address never gets what the rule passes on.
	DNATTo netip.Addr
	// HostIP is the address by which the host reaches the guest through that rule.
	HostIP Addr

	Vpeer Vpeer
	Host  Host
	// ClientSource is the address from which the host sends to HostIP, else to the
	// vpeer, else to the guest. Not valid: unknown, or the host has no route.
	ClientSource netip.Addr

	Unread []path.Unread
}

// Vpeer is the namespace's end of the veth pair that leads out of it. The zero value:
// there is none, or the tap is in our own namespace.
type Vpeer struct {
	Name    string
	Ifindex netns.Ifindex
	Addr    netip.Addr // its own, else that of the bridge that it is a port of
}

// Host is the host's end of that pair. The zero value: it is in another namespace.
type Host struct {
	Veth    string
	Ifindex netns.Ifindex
	Addr    netip.Addr // its own, else that of the bridge that it is a port of
}

// Read asks the kernel. It takes well under a millisecond. The error is ErrGone where
// there is no such tap, or that its namespace cannot be entered.
func Read(tap Tap) (Topology, error) {
	host, err := nlsafe.Dial()
	if err != nil {
		return Topology{}, fmt.Errorf("read topology: %w", err)
	}
	defer host.Close()
	r := &reader{tap: tap, host: asker{host}}
	if tap.Netns == "" {
		r.in, r.OwnNS = r.host, true
		err = r.namespace()
	} else {
		err = r.inside()
	}
	if errors.Is(err, netns.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return Topology{}, fmt.Errorf("read topology of tap %d: %w", tap.Ifindex, err)
	}
	r.note("the veth pair's end in the host", r.hostEnd())
	r.findGuest()
	r.findShape()
	r.note("the host's route to the guest", r.findClient())
	return r.Topology, nil
}

// reader is one reading.
type reader struct {
	Topology
	tap       Tap
	in        asker // the tap's namespace; only while a thread is inside
	host      asker
	self      *os.File      // our own namespace
	peer      netns.Ifindex // the vpeer's other end, where that is in the host; 0: it is not
	l3        netns.Ifindex //  the device that has the tap's addresses: itself or its bridge
	rules     []rule        // DNAT rules that lead to the tap's network
	neighbour netip.Addr
}

// inside reads the namespace that the tap is in.
func (r *reader) inside() error {
	self, err := os.Open(netns.Own)
	if err != nil {
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer self.Close()
	r.self = self
	ours, err := netns.Current()
	if err != nil {
		return err
	}
	return netns.Do(r.tap.Netns, func() error {
		theirs, err := netns.Current()
		if err != nil {
			return err
		}
		conn, err := nlsafe.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		r.in, r.OwnNS = asker{conn}, ours == theirs
		return r.namespace()
	})
}

// namespace reads all that is asked inside the tap's namespace.
func (r *reader) namespace() error {
	l, err := r.in.link(r.tap.Ifindex)
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err != nil {
		return err
	}
	r.Name, r.Kind, r.l3 = l.name, l.kind, l.index
	if l.master != 0 && isBridge(l.slaveKind) {
		if bridge, err := r.in.link(l.master); err == nil {
			r.Bridge, r.l3 = bridge.name, bridge.index
		} else {
			r.note("the tap's bridge", err)
		}
	}
	r.TapAddrs, err = r.in.addresses(r.l3)
	r.note("the tap's addresses", err)
	if !r.OwnNS {
		r.note("the namespace's veth pair", r.findVpeer())
		r.note("DNAT rules", r.findRules())
	}
	r.neighbour, err = r.findNeighbour(l)
	r.note("the tap's neighbours", err)
	return nil
}

// note notes what could not be read, and why. A device that went meanwhile is not
// worth a word: the next reading sees what is there.
func (r *reader) note(what string, err error) {
	if err != nil && !errors.Is(err, unix.ENODEV) {
		r.Unread = append(r.Unread, path.Unread{What: what, Because: err.Error()})
	}
}
