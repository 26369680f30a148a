package agent

import (
	"cmp"
	"net"
	"net/netip"

	"tapwatch/agent/filter"
	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// readRules judges what the path sends through its namespace, and through the host's.
func (i *inspector) readRules(t slots.Target, c *slots.Inspection) {
	unread := func(what string, err error) {
		c.Inside.Unread = append(c.Inside.Unread, path.Unread{What: what, Because: err.Error()})
	}
	found, translates, err := filter.ReadRules(t.Path, i.packets(t), i.translated(t))
	if err != nil {
		unread("rules of packet filters", err)
		return
	}
	c.Rules.Filters = found
	switch translates {
	case path.Yes:
		c.Inside.MissingDNAT = path.No
	case path.No:
		c.Inside.MissingDNAT = path.Yes
	}
	err = netns.Do(t.Path, func() error {
		programs, err := filter.OnDevices(probe.Ours, t.Tap, t.Bridge, t.Veth.Peer)
		c.Rules.NotJudged = append(c.Rules.NotJudged, programs...)
		return err
	})
	if err != nil {
		unread("tc filters", err)
	}
	packets := i.hostPackets(t)
	if len(packets) == 0 {
		return
	}
	if c.Rules.Host, err = i.host.judge(t, packets); err != nil {
		unread("rules of the host", err)
	}
	programs, err := filter.OnDevices(probe.Ours, t.Veth.Host)
	if err != nil {
		unread("tc filters of the host", err)
	}
	c.Rules.Host.NotJudged = append(c.Rules.Host.NotJudged, programs...)
}

// translated is what the namespace of a dnat path must give another destination: what
// comes for the address by which the host knows the sandbox, or for the vpeer's own.
// Of a foreign path it is not known whether it has to.
func (i *inspector) translated(t slots.Target) []filter.Packet {
	if t.Shape != registry.DNAT && t.Shape != "" {
		return nil
	}
	packet := filter.Packet{What: "what is to be passed on", In: t.Veth.Peer, Opens: true, From: netip.AddrPortFrom(t.Addrs.Client, 0)}
	var list []filter.Packet
	for _, to := range []netip.Addr{t.Addrs.Host, t.Addrs.Vpeer} {
		if to.IsValid() {
			packet.To = netip.AddrPortFrom(to, i.port)
			list = append(list, packet)
		}
	}
	return list
}

// packets is what a path of the target's shape sends through the tap's namespace.
func (i *inspector) packets(t slots.Target) []filter.Packet {
	all := i.pathPackets(t)
	if macs, err := inspect.MACsOf(t.VMM.PID); err == nil && len(macs) == 1 { // else it is not known who sends
		if mac, err := net.ParseMAC(macs[0]); err == nil {
			for n := range all {
				if all[n].In == t.Tap || all[n].InPort == t.Tap {
					all[n].MAC = mac
				}
			}
		}
	}
	return all
}

func (i *inspector) pathPackets(t slots.Target) []filter.Packet {
	relay, guest := netip.AddrPortFrom(t.Addrs.Vpeer, i.port), netip.AddrPortFrom(t.Addrs.Guest, i.port)
	own, client := netip.AddrPortFrom(t.Addrs.Tap, 0), netip.AddrPortFrom(t.Addrs.Client, 0)
	tap, port := t.Tap, ""
	if t.Bridge != "" {
		tap, port = t.Bridge, t.Tap
	}
	arp := filter.ARP(tap, port, t.Addrs.Guest, t.Addrs.Tap)
	veth := filter.ARP(t.Veth.Peer, "", t.Addrs.Client, t.Addrs.Vpeer)
	switch t.Shape {
	case registry.DNAT:
		passes := filter.Exchange{Asks: "what is forwarded to the guest", Answers: "what the guest answers",
			In: t.Veth.Peer, Out: tap, OutPort: port, From: client, To: guest, Public: i.public(t)}
		return join(passes.Packets(), arp, veth)
	case registry.Relay, "":
		asks := filter.Exchange{Asks: "what the proxy sends the relay", Answers: "what the relay answers the proxy",
			In: t.Veth.Peer, From: client, To: relay, User: userOf(t.RelayPID)}
		sends := filter.Exchange{Asks: "what the relay sends the guest", Answers: "what the guest answers",
			Out: tap, OutPort: port, From: own, To: guest, User: userOf(t.RelayPID)}
		return join(asks.Packets(), sends.Packets(), arp, veth)
	}
	sends := filter.Exchange{Asks: "what the proxy sends the guest", Answers: "what the guest answers",
		Out: tap, OutPort: port, From: own, To: guest, User: userOf(t.ProxyPID)}
	return join(sends.Packets(), arp)
}

// public is the address by which the proxy reaches the guest of a dnat path.
func (i *inspector) public(t slots.Target) netip.AddrPort {
	to := t.Addrs.Host
	if !to.IsValid() {
		to = t.Addrs.Vpeer
	}
	return netip.AddrPortFrom(to, i.port)
}

// hostPackets is what the path sends through the host's namespace; none where the tap is
// there itself, or the proxy dials from inside the slot's.
func (i *inspector) hostPackets(t slots.Target) []filter.Packet {
	if t.Host || t.Veth.Host == "" || !path.HasRelay(t.Shape) && t.Shape != registry.DNAT {
		return nil
	}
	e := filter.Exchange{Asks: "what the proxy sends the relay", Answers: "what the relay answers the proxy",
		Out: t.Veth.Host, From: netip.AddrPortFrom(t.Addrs.Client, 0), To: netip.AddrPortFrom(t.Addrs.Vpeer, i.port), User: userOf(t.ProxyPID)}
	if t.Shape == registry.DNAT {
		e.Asks, e.Answers, e.To = "what the proxy sends the guest", "what the guest answers the proxy", i.public(t)
	}
	return join(e.Packets(), filter.ARP(t.Veth.Host, "", t.Addrs.Vpeer, t.Addrs.Client))
}

// join puts together the packets whose addresses and devices are known.
func join(lists ...[]filter.Packet) (all []filter.Packet) {
	for _, l := range lists {
		for _, p := range l {
			known := p.To.Addr().IsValid() && cmp.Or(p.In, p.Out) != ""
			if known && (p.ARP == 0 || p.From.Addr().IsValid()) { // a client's address may be any
				all = append(all, p)
			}
		}
	}
	return all
}

// userOf is whose sockets those of a process are; nil: unknown.
func userOf(pid int) *uint32 {
	if pid == 0 {
		return nil
	}
	u, err := inspect.UserOf(pid)
	if err != nil {
		return nil
	}
	return &u.UID
}
