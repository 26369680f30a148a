// Package link keeps the state of every network interface of a host, in all its
// namespaces, from one netlink socket: carrier above all. The kernel's counters
// are believed over its operstate, which lags by seconds, and what the socket
// lost is recovered from them.
package link

import (
	"bytes"
	"fmt"
	"net"
	"time"

	"tapwatch/internal/netns"
)

// Carrier is the kernel's IFLA_CARRIER. It says nothing of the administrative
// state: a tap that is down keeps the carrier that its holder gives it.
type Carrier uint8

// What is known of a carrier.
const (
	Unknown Carrier = iota
	Down            // NO-CARRIER: for a tap, nobody holds it
	Up
)

func (c Carrier) String() string {
	switch c {
	case Down:
		return "down"
	case Up:
		return "up"
	}
	return "unknown"
}

// UnknownNSID is the PeerNSID of a link whose peer is in another namespace, while
// it is not known in which.
const UnknownNSID netns.NSID = -2

// Operstate is the state of RFC 2863 as IFLA_OPERSTATE gives it. It lags behind
// the carrier by up to seconds: show it, decide nothing by it.
type Operstate uint8

// from the IF_OPER_* enum of include/uapi/linux/if.h
var operstates = [...]string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}

func (o Operstate) String() string {
	if int(o) < len(operstates) {
		return operstates[o]
	}
	return fmt.Sprintf("operstate-%d", uint8(o))
}

// Link is an interface at one moment. A published Link is never changed again.
type Link struct {
	Netns     netns.Cookie
	NSID      netns.NSID // of its namespace
	Ifindex   netns.Ifindex
	Name      string
	Kind      string // IFLA_INFO_KIND: "tun" for taps too, "veth", ...; empty for hardware and lo
	Tun       Tun    // of Kind "tun"
	AdminUp   bool   // IFF_UP; a link that is administratively down is in no fault of its own
	NoARP     bool   // IFF_NOARP: it neither asks by ARP nor answers
	Carrier   Carrier
	Operstate Operstate
	UpCount   uint32 // times that the carrier came since the interface was made; wraps
	DownCount uint32 // times that it went; wraps
	MTU       uint32
	Addr      net.HardwareAddr
	Master    netns.Ifindex // the bridge that it is a port of, or the bond or the like; 0: none
	Peer      netns.Ifindex // the other end of a veth, the lower device of others; 0: none
	// PeerNSID is the namespace of Peer. NoNSID is the link's own; UnknownNSID is
	// one that the kernel has not numbered for us yet. Watcher.Peer resolves it.
	PeerNSID netns.NSID
	// Changed is when AdminUp or Carrier was last seen to change; zero while
	// they are as they were found.
	Changed time.Time
	// StaleSince is since when the operstate has contradicted the carrier; zero
	// while it does not, or did already when the interface was found.
	StaleSince time.Time
}

// Key returns the link's identity.
func (l *Link) Key() netns.Device { return netns.Device{Netns: l.Netns, Ifindex: l.Ifindex} }

// same reports whether two states of one interface differ in nothing but times.
func (l *Link) same(o *Link) bool {
	return !l.moved(o) && bytes.Equal(l.Addr, o.Addr) &&
		l.Netns == o.Netns && l.NSID == o.NSID && l.Ifindex == o.Ifindex &&
		l.Name == o.Name && l.Kind == o.Kind && l.Tun == o.Tun && l.Operstate == o.Operstate && l.NoARP == o.NoARP &&
		l.MTU == o.MTU && l.Master == o.Master && l.Peer == o.Peer && l.PeerNSID == o.PeerNSID
}

// moved reports whether carrier or administrative state differ, or went and
// came back in between.
func (l *Link) moved(o *Link) bool {
	return l.Carrier != o.Carrier || l.AdminUp != o.AdminUp ||
		l.UpCount != o.UpCount || l.DownCount != o.DownCount
}

// behind reports whether l is an older state of the interface than o. Both
// counters only grow, so they order what reaches us by different ways: the
// answer to a question may overtake events.
func (l *Link) behind(o *Link) bool {
	return int32(l.UpCount-o.UpCount) < 0 || int32(l.DownCount-o.DownCount) < 0
}

// Change is one step of one interface. Old is nil where it is new to us, New
// where it or its namespace has gone. A rename is one Change with both and two
// names. A move to another namespace is the end of one interface and the
// beginning of another: two Changes with two keys.
type Change struct {
	Time time.Time // when it was received, right after the kernel's wake-up
	Old  *Link
	New  *Link
	// Asked is true where a question of ours found it and no event told it: at
	// start, after an overrun, or after a quick swap of a tap's holders.
	Asked bool
}

// Key returns the interface's identity.
func (c Change) Key() netns.Device {
	if c.New != nil {
		return c.New.Key()
	}
	return c.Old.Key()
}

// Ups returns how often the carrier came between Old and New; more than 1 means
// that flaps went by without an event. It is 0 where one of them is nil.
func (c Change) Ups() uint32 {
	if c.Old == nil || c.New == nil {
		return 0
	}
	return c.New.UpCount - c.Old.UpCount
}

// Downs returns how often the carrier went between Old and New, like Ups.
func (c Change) Downs() uint32 {
	if c.Old == nil || c.New == nil {
		return 0
	}
	return c.New.DownCount - c.Old.DownCount
}
