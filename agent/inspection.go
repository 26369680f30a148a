package agent

import (
	"net/netip"

	"github.com/google/nftables"

	"tapwatch/agent/filter"
	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/registry"
)

// inspect is one look at what no event reports: the VMM's user, routes, addresses,
// packet filters, the way out.
func (i *inspector) inspect(t slots.Target) *slots.Inspection {
	c := &slots.Inspection{}
	var err error
	if t.VMM.PID != 0 {
		if c.VMMUser, err = inspect.UserOf(t.VMM.PID); err != nil {
			i.log.Debug("read whose the VMM is", "err", err)
		}
		if c.VMMMACs, err = inspect.MACsOf(t.VMM.PID); err != nil {
			i.log.Debug("read the VMM's command line", "err", err)
		}
	}
	if t.Path == "" || t.Key.Claim != 0 {
		return c
	}
	plan := planOf(t)
	plan.Port = i.port
	within := inspect.Inside(t.Path, plan)
	c.Inside, c.Tun, c.Neighbour = within.Inside, within.Tun, within.Neighbour
	if t.Shape == registry.DNAT { // no other needs it
		if c.Rules.Forwards, err = inspect.Forwards(t.Path); err != nil {
			i.log.Debug("read ip_forward", "netns", t.Netns, "err", err)
		}
	}
	if t.Waiting && t.Addrs.Guest.IsValid() {
		if err := inspect.AskNeighbour(t.Path, t.Tap, t.Addrs.Guest); err != nil {
			i.log.Debug("ask a guest", "err", err)
		}
	}
	if t.Addrs.Vpeer.IsValid() && t.Addrs.Guest.IsValid() {
		i.readRules(t, c)
	}
	if t.Foreign { // ours promises no way out
		if c.Inside.Egress, err = i.egress.of(t); err != nil {
			c.Inside.Unread = append(c.Inside.Unread, path.Unread{What: "the guest's way out", Because: err.Error()})
		}
	}
	return c
}

func (i *inspector) readRules(t slots.Target, c *slots.Inspection) {
	r, err := filter.ReadRules(t.Path, i.packets(t), i.translated(t))
	if err != nil {
		c.Inside.Unread = append(c.Inside.Unread, path.Unread{What: "rules of packet filters", Because: err.Error()})
		return
	}
	c.Rules.Drops = r.Drops
	if c.Rules.Drops == nil {
		c.Rules.Drops = []string{} // none, which is not the same as unknown
	}
	switch r.Translates {
	case path.Yes:
		c.Inside.MissingDNAT = path.No
	case path.No:
		c.Inside.MissingDNAT = path.Yes
	}
}

// translated is what the namespace of a dnat path must give another destination: what
// comes for the address by which the host knows the sandbox, or for the vpeer's own.
// Of a foreign path it is not known whether it has to.
func (i *inspector) translated(t slots.Target) []filter.Packet {
	if t.Shape != registry.DNAT && t.Shape != "" {
		return nil
	}
	packet := filter.Packet{What: "what is to be passed on", Hook: *nftables.ChainHookPrerouting, In: t.Veth.Peer, From: netip.AddrPortFrom(t.Addrs.Client, 0)}
	var list []filter.Packet
	for _, to := range []netip.Addr{t.Addrs.Host, t.Addrs.Vpeer} {
		if to.IsValid() {
			packet.To = netip.AddrPortFrom(to, i.port)
			list = append(list, packet)
		}
	}
	return list
}

// planOf is what a path of the target's shape needs of its namespace.
func planOf(t slots.Target) inspect.Plan {
	p := inspect.Plan{Tap: t.Tap, Vpeer: t.Veth.Peer, HostVeth: t.Veth.Host, Guest: t.Addrs.Guest, VpeerAddr: t.Addrs.Vpeer, Host: t.Addrs.Host,
		Forwards: t.Shape == registry.DNAT, Fused: t.Shape == registry.Fused}
	if t.Bridge != "" { // the bridge has the addresses
		p.Guest = netip.Addr{}
	}
	if t.Veth.Host != "" {
		p.Client = t.Addrs.Client
	}
	return p
}

// packets is what a path of the target's shape sends through its namespace.
func (i *inspector) packets(t slots.Target) []filter.Packet {
	relay, guest := netip.AddrPortFrom(t.Addrs.Vpeer, i.port), netip.AddrPortFrom(t.Addrs.Guest, i.port)
	own, from := netip.AddrPortFrom(t.Addrs.Tap, 0), netip.AddrPortFrom(t.Addrs.Client, 0)
	switch t.Shape {
	case registry.DNAT:
		return []filter.Packet{
			{What: "what is forwarded to the guest", Hook: *nftables.ChainHookForward, In: t.Veth.Peer, Out: t.Tap, From: from, To: guest},
			{What: "what the guest answers", Hook: *nftables.ChainHookForward, In: t.Tap, Out: t.Veth.Peer, From: guest, To: from, Established: true},
		}
	case registry.Relay, "":
		return []filter.Packet{
			{What: "what the proxy sends the relay", Hook: *nftables.ChainHookInput, In: t.Veth.Peer, From: from, To: relay},
			{What: "what the relay answers the proxy", Hook: *nftables.ChainHookOutput, Out: t.Veth.Peer, From: relay, To: from, Established: true},
			{What: "what the relay sends the guest", Hook: *nftables.ChainHookOutput, Out: t.Tap, From: own, To: guest},
			{What: "what the guest answers", Hook: *nftables.ChainHookInput, In: t.Tap, From: guest, To: own, Established: true},
		}
	}
	return []filter.Packet{
		{What: "what the proxy sends the guest", Hook: *nftables.ChainHookOutput, Out: t.Tap, From: own, To: guest},
		{What: "what the guest answers", Hook: *nftables.ChainHookInput, In: t.Tap, From: guest, To: own, Established: true},
	}
}
