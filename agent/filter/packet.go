package filter

import (
	"net"
	"net/netip"

	"github.com/google/nftables"
)

// Exchange is a connection that a path needs, as one namespace sees it.
type Exchange struct {
	Asks, Answers string // for people, e.g. "what the proxy sends the relay"
	// In and Out are the devices by which what asks comes and goes; empty: it begins, or
	// ends, in this namespace. Where one is a bridge, its port is InPort or OutPort.
	In, Out, InPort, OutPort string
	From, To                 netip.AddrPort // port 0: any that a client may have
	// Public is the destination before the namespace gives it To (DNAT); not valid: it
	// is To from the beginning.
	Public netip.AddrPort
	// User is whose socket sends what begins in this namespace; nil: unknown.
	User *uint32
}

// Packet is one that a path needs, on its way through one namespace.
type Packet struct {
	What                     string
	In, Out, InPort, OutPort string
	From, To                 netip.AddrPort
	// Public is what DNAT turns into To, of an answer what its source is turned into.
	Public netip.AddrPort
	Opens  bool    // it is a SYN, or the answer to one
	Answer bool    // it is of the other direction than what began the connection
	ARP    uint16  // the operation of an ARP packet; 0: it is a TCP segment
	User   *uint32 // whose socket sends it; nil: unknown
	// MAC is the sender's hardware address of what comes in; nil: unknown.
	MAC net.HardwareAddr

	hidden bool // beyond this namespace it has another source, or of an answer destination
}

// Packets are those of an exchange that differ to rules: what opens a connection, and
// what goes over it.
func (e Exchange) Packets() []Packet {
	asks := Packet{What: e.Asks, In: e.In, Out: e.Out, InPort: e.InPort, OutPort: e.OutPort, From: e.From, To: e.To, Public: e.Public, User: e.User}
	answers := Packet{What: e.Answers, In: e.Out, Out: e.In, InPort: e.OutPort, OutPort: e.InPort, From: e.To, To: e.From, Public: e.Public, User: e.User, Answer: true}
	syn, synACK := asks, answers
	syn.Opens, synACK.Opens = true, true
	return []Packet{syn, asks, synACK, answers}
}

// Operations of ARP.
const (
	arpRequest = 1
	arpReply   = 2
)

// ARP is how this namespace learns the hardware address that belongs to an address
// behind a device.
func ARP(device, port string, of, own netip.Addr) []Packet {
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, 0) }
	return []Packet{
		{What: "ARP requests for " + of.String(), Out: device, OutPort: port, From: at(own), To: at(of), ARP: arpRequest},
		{What: "the ARP answers of " + of.String(), In: device, InPort: port, From: at(of), To: at(own), ARP: arpReply, Answer: true},
	}
}

// Hooks that unlike the others are of one family only: from enum nf_dev_hooks and enum
// nf_inet_hooks of include/uapi/linux/netfilter.h, and enum nf_arp_hooks of
// include/uapi/linux/netfilter_arp.h.
const (
	netdevIngress = 0
	netdevEgress  = 1
	inetIngress   = 5
	arpIn         = 0
	arpOut        = 1
)

// The order in which the kernel tracks connections and translates addresses at a hook:
// enum nf_ip_hook_priorities of include/uapi/linux/netfilter_ipv4.h.
const (
	tracks         = -200
	translatesDest = -100
	translatesFrom = 100
)

// view is a packet as the chains at one hook see it.
type view struct {
	*Packet
	hook     nftables.ChainHook
	in, out  string // what the hook knows of its devices
	from, to netip.AddrPort
	tracked  bool // the hook knows the connection
	link     bool // the hook is a device's, or a bridge's

	network, transport header // once a rule has asked for them
}

// at returns the packet as a chain sees it; ok is false where it does not pass there.
func (c *chain) at(p *Packet) (v view, ok bool) {
	switch c.table.Family {
	case nftables.TableFamilyNetdev:
		return p.atDevice(c.hook == netdevIngress, c.devices)
	case nftables.TableFamilyINet:
		if c.hook == inetIngress {
			return p.atDevice(true, c.devices)
		}
		return p.atHook(c.hook, c.priority)
	case nftables.TableFamilyIPv4:
		return p.atHook(c.hook, c.priority)
	case nftables.TableFamilyARP:
		return p.atARP(c.hook)
	case nftables.TableFamilyBridge:
		return p.atBridge(c.hook)
	}
	return v, false
}

// atHook is where IPv4 passes.
func (p *Packet) atHook(hook nftables.ChainHook, priority int32) (v view, ok bool) {
	v = view{Packet: p, hook: hook, from: p.From, to: p.To, tracked: true}
	if p.ARP != 0 {
		return v, false
	}
	switch hook {
	case *nftables.ChainHookPrerouting:
		v.in, ok = p.In, p.In != ""
		v.tracked = priority > tracks
		if priority <= translatesDest {
			v.untranslated()
		}
	case *nftables.ChainHookInput:
		v.in, ok = p.In, p.In != "" && p.Out == ""
	case *nftables.ChainHookForward:
		v.in, v.out, ok = p.In, p.Out, p.In != "" && p.Out != ""
	case *nftables.ChainHookOutput:
		v.out, ok = p.Out, p.In == "" && p.Out != ""
		v.tracked = priority > tracks
	case *nftables.ChainHookPostrouting:
		v.in, v.out, ok = p.In, p.Out, p.Out != ""
		if priority > translatesFrom {
			v.translated()
		}
	}
	return v, ok
}

// untranslated puts back the destination that is not translated yet.
func (v *view) untranslated() {
	switch {
	case v.Answer && v.hidden:
		v.to = netip.AddrPort{}
	case !v.Answer && v.Public.IsValid():
		v.to = v.Public
	}
}

// translated puts in the source that is known beyond this namespace.
func (v *view) translated() {
	switch {
	case !v.Answer && v.hidden:
		v.from = netip.AddrPort{}
	case v.Answer && v.Public.IsValid():
		v.from = v.Public
	}
}

// atDevice is where chains of the family netdev are.
func (p *Packet) atDevice(ingress bool, devices []string) (v view, ok bool) {
	v = view{Packet: p, from: p.From, to: p.To, link: true}
	of := []string{p.In, p.InPort}
	if ingress {
		v.untranslated()
	} else {
		of = []string{p.Out, p.OutPort}
		v.translated()
	}
	for _, name := range of {
		if name == "" || !named(devices, name) {
			continue
		}
		if ingress {
			v.in = name
		} else {
			v.out = name
		}
		return v, true
	}
	return v, false
}

// named says whether a device is one of those that a chain is for.
func named(devices []string, name string) bool {
	for _, d := range devices {
		if n := len(d) - 1; d == name || n >= 0 && d[n] == '*' && len(name) >= n && name[:n] == d[:n] {
			return true
		}
	}
	return false
}

// atARP is where chains of the family arp are.
func (p *Packet) atARP(hook nftables.ChainHook) (v view, ok bool) {
	v = view{Packet: p, from: p.From, to: p.To, link: true}
	switch {
	case p.ARP == 0:
	case hook == arpIn:
		v.in, ok = p.In, p.In != ""
	case hook == arpOut:
		v.out, ok = p.Out, p.Out != ""
	}
	return v, ok
}

// atBridge is where chains of the family bridge are: what passes a port of a bridge that
// has the address comes in to the bridge, or goes out from it.
func (p *Packet) atBridge(hook nftables.ChainHook) (v view, ok bool) {
	v = view{Packet: p, hook: hook, from: p.From, to: p.To, link: true}
	switch hook {
	case *nftables.ChainHookPrerouting, *nftables.ChainHookInput:
		v.in, ok = p.InPort, p.InPort != ""
		v.untranslated()
	case *nftables.ChainHookOutput, *nftables.ChainHookPostrouting:
		v.out, ok = p.OutPort, p.OutPort != ""
		v.translated()
	}
	return v, ok
}
