// Package network makes and removes slots: a slot is one namespace with its
// veth pair and its tap, under E2B's names and addresses, ready for one
// sandbox. A pool keeps idle slots at hand and records whose they are.
package network

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"tapwatch/internal/registry"
)

// MaxIndex is the last slot of a host: slot i takes 10.12.0.0/16 + 2i and + 2i+1.
const MaxIndex = 1<<15 - 1

// What is the same in every slot, as E2B has it.
const (
	TapName   = "tap0"
	TapMAC    = "02:FC:00:00:00:06"
	GuestMAC  = "02:FC:00:00:00:05"
	vpeerName = "eth0"
	envdPort  = 49983

	reservedPorts = "49983,49999" // envd's and the code interpreter's
)

var (
	hostBase = netip.MustParseAddr("10.11.0.0")
	vethBase = netip.MustParseAddr("10.12.0.0")
	tapIP    = netip.MustParseAddr("169.254.0.22")
	guestIP  = netip.MustParseAddr("169.254.0.21")
)

// Slot is the number from which every name and address of a slot follows. The
// zero value is no slot.
type Slot struct{ Index int }

// Netns is the name of the namespace under /run/netns.
func (s Slot) Netns() string { return "ns-" + strconv.Itoa(s.Index) }

// HostVeth is the host's end of the veth pair; the other end is eth0 in the namespace.
func (s Slot) HostVeth() string { return "veth-" + strconv.Itoa(s.Index) }

// Tap is the device in the namespace that the VMM attaches to.
func (s Slot) Tap() string { return TapName }

// HostIP is the address by which the host may know the sandbox; it is routed through VpeerIP.
func (s Slot) HostIP() netip.Addr { return offset(hostBase, s.Index) }

// VethIP is the address of HostVeth, a /31 with VpeerIP.
func (s Slot) VethIP() netip.Addr { return offset(vethBase, 2*s.Index) }

// VpeerIP is the address of eth0 in the namespace, where the relay listens.
func (s Slot) VpeerIP() netip.Addr { return offset(vethBase, 2*s.Index+1) }

// TapIP is the address of the tap's host side, a /30 with GuestIP.
func (s Slot) TapIP() netip.Addr { return tapIP }

// GuestIP is the address of the sandbox, the same in every slot.
func (s Slot) GuestIP() netip.Addr { return guestIP }

// GuestMAC is the hardware address to give the sandbox's NIC.
func (s Slot) GuestMAC() string { return GuestMAC }

// BootArgs is the kernel argument that gives the guest its address.
func (s Slot) BootArgs() string {
	return fmt.Sprintf("ip=%s::%s:255.255.255.252:instance:eth0:off:tap0", guestIP, tapIP)
}

// Record is the slot's registry record while idle; its cookie is not known yet.
func (s Slot) Record(owner registry.Process) registry.Slot {
	return registry.Slot{
		Index:    s.Index,
		Netns:    s.Netns(),
		HostVeth: s.HostVeth(),
		Tap:      s.Tap(),
		VpeerIP:  s.VpeerIP().String(),
		HostIP:   s.HostIP().String(),
		GuestIP:  s.GuestIP().String(),
		Owner:    owner,
	}
}

func (s Slot) validate() error {
	if s.Index < 1 || s.Index > MaxIndex {
		return fmt.Errorf("slot %d is out of range: 10.12.0.0/16 holds slots 1 to %d", s.Index, MaxIndex)
	}
	return nil
}

// offset adds n, below 65536, to an IPv4 address that ends in two zero bytes.
func offset(base netip.Addr, n int) netip.Addr {
	b := base.As4()
	b[2], b[3] = byte(n>>8), byte(n)
	return netip.AddrFrom4(b)
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}
