package agent

import (
	"errors"

	"tapwatch/agent/slots"
	"tapwatch/agent/topology"
)

// learnTopology reads from the kernel how requests reach the guest of a foreign
// sandbox, and returns the target with what is then known; the zero target where it
// has gone. Of our own the record says it.
func (i *inspector) learnTopology(t slots.Target) slots.Target {
	if !t.Foreign || t.Key.Claim != 0 || t.Key.Ifindex == 0 {
		return t
	}
	tap := topology.Tap{Netns: t.Path, Ifindex: t.Key.Ifindex, Port: i.port, Frames: t.Frames}
	if t.Host {
		tap.Netns = ""
	}
	found, err := topology.Read(tap)
	if err != nil && !errors.Is(err, topology.ErrGone) {
		i.log.Debug("read how a guest is reached", "netns", t.Netns, "err", err)
	}
	if err == nil {
		i.slots.TakeTopology(t.Key, topologyOf(&found))
	}
	for _, now := range i.slots.Targets(t.Key) {
		if now.Stay == t.Stay {
			return now
		}
	}
	return slots.Target{}
}

func topologyOf(t *topology.Topology) slots.Topology {
	out := slots.Topology{Shape: t.Shape, Bridge: t.Bridge,
		Addrs: slots.Addrs{Vpeer: t.Vpeer.Addr, Client: t.ClientSource, Host: t.HostIP.Addr, Guest: t.Guest.Addr}}
	if out.Addrs.Vpeer.IsValid() && t.Host.Addr.IsValid() {
		out.Addrs.Client = t.Host.Addr
	}
	for _, p := range t.TapAddrs {
		if p.Addr().Is4() {
			out.Addrs.Tap = p.Addr()
			break
		}
	}
	return out
}
