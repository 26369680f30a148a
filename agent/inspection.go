package agent

import (
	"net/netip"
	"time"

	"tapwatch/agent/inspect"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/proc"
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
		if is, err := i.vmms.Look(proc.Process(t.VMM), time.Now()); err != nil {
			i.log.Debug("look at a VMM", "err", err)
		} else {
			c.VMM = &is
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
	i.askGuest(t, c)
	if t.Addrs.Vpeer.IsValid() && t.Addrs.Guest.IsValid() {
		i.readRules(t, c)
	}
	if t.Foreign { // ours promises no way out
		if c.Inside.Egress, err = i.host.egress(t); err != nil {
			c.Inside.Unread = append(c.Inside.Unread, path.Unread{What: "the guest's way out", Because: err.Error()})
		}
	}
	return c
}

// askGuest asks a guest that leaves a SYN unanswered whether it is there. One whose VM is
// paused is let rest: the question would look like a client that waits for it.
func (i *inspector) askGuest(t slots.Target, c *slots.Inspection) {
	if !t.Waited && !t.Waiting || !t.Addrs.Guest.IsValid() || i.slots.Paused(t) || c.VMM != nil && c.VMM.Cgroup.Frozen == path.Yes {
		return
	}
	if t.Waited {
		c.Inside.Replies = i.replies.ask(t, i.log)
	}
	if t.Waiting {
		if err := inspect.AskNeighbour(t.Path, t.Tap, t.Addrs.Guest); err != nil {
			i.log.Debug("ask a guest", "err", err)
		}
	}
}

// planOf is what a path of the target's shape needs of its namespace.
func planOf(t slots.Target) inspect.Plan {
	p := inspect.Plan{Tap: t.Tap, Vpeer: t.Veth.Peer, HostVeth: t.Veth.Host, Guest: t.Addrs.Guest, VpeerAddr: t.Addrs.Vpeer, Host: t.Addrs.Host, Calm: t.Calm,
		Forwards: t.Shape == registry.DNAT, Fused: t.Shape == registry.Fused}
	if t.Bridge != "" { // the bridge has the addresses
		p.Guest = netip.Addr{}
	}
	if t.Veth.Host != "" {
		p.Client = t.Addrs.Client
	}
	return p
}
