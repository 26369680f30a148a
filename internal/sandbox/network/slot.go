// Package network makes and removes slots: a slot is one namespace with its
// veth pair and its tap, under E2B's names and addresses, ready for one
// sandbox. A pool keeps idle slots at hand and records whose they are.
package network

import (
	"fmt"
	"net"
	"net/netip"

	"tapwatch/internal/e2b"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// Slot is the number from which every name and address of a slot follows. The
// zero value is no slot.
type Slot struct{ Index int }

// Netns is the name of the namespace under /run/netns.
func (s Slot) Netns() string { return e2b.NamespaceName(s.Index) }

// HostVeth is the host's end of the veth pair; the other end is eth0 in the namespace.
func (s Slot) HostVeth() string { return e2b.HostVeth(s.Index) }

// Tap is the device in the namespace that the VMM attaches to.
func (s Slot) Tap() string { return e2b.Tap }

// HostIP is the address by which the host may know the sandbox; it is routed through VpeerIP.
func (s Slot) HostIP() netip.Addr { return s.plan().HostIP }

// VethIP is the address of HostVeth, a /31 with VpeerIP.
func (s Slot) VethIP() netip.Addr { return s.plan().VethIP }

// VpeerIP is the address of eth0 in the namespace, where the relay listens.
func (s Slot) VpeerIP() netip.Addr { return s.plan().VpeerIP }

// TapIP is the address of the tap's host side, a /30 with GuestIP.
func (s Slot) TapIP() netip.Addr { return e2b.TapIP() }

// GuestIP is the address of the sandbox, the same in every slot.
func (s Slot) GuestIP() netip.Addr { return e2b.GuestIP() }

// GuestMAC is the hardware address to give the sandbox's NIC.
func (s Slot) GuestMAC() string { return e2b.GuestMAC }

// BootArgs is the kernel argument that gives the guest its address.
func (s Slot) BootArgs() string {
	return fmt.Sprintf("ip=%s::%s:255.255.255.252:instance:eth0:off:tap0", e2b.GuestAddr, e2b.TapAddr)
}

// Record is the slot's registry record while idle; its cookie is not known yet.
func (s Slot) Record(owner proc.Process) registry.Slot {
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
	if s.Index < 1 || s.Index > e2b.MaxIndex {
		return fmt.Errorf("slot %d is out of range: 10.12.0.0/16 holds slots 1 to %d", s.Index, e2b.MaxIndex)
	}
	return nil
}

// plan is the slot's addresses, none where the index is out of range.
func (s Slot) plan() e2b.Slot {
	of, _ := e2b.DefaultPlan().Slot(s.Index)
	return of
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}
