package agent

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/link"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
)

// watch applies what is reported of namespaces and of links, at once and in order.
func (a *Agent) watch(ctx context.Context) error {
	tick := time.NewTimer(unreadEvery)
	defer tick.Stop()
	waits := true // for the links of a namespace
	for {
		select {
		case c, ok := <-a.links.Changes(): // before anything of discovery's
			if !ok {
				return nil
			}
			a.linkChanged(c)
			continue
		default:
		}
		select {
		case <-ctx.Done():
			return nil
		case c, ok := <-a.discover.Changes():
			if !ok {
				return nil
			}
			a.namespaceChanged(c)
			if !waits {
				waits = true
				tick.Reset(unreadEvery)
			}
		case c, ok := <-a.links.Changes():
			if !ok {
				return nil
			}
			a.linkChanged(c)
		case <-tick.C: // a reading that found nothing new makes no change to tell by
			unread := a.slots.Unlinked()
			for _, c := range unread {
				a.linksOf(c)
			}
			if waits = len(unread) > 0; waits {
				tick.Reset(unreadEvery)
			}
		}
	}
}

// unreadEvery is the time between two looks whether the links of new namespaces have
// been read by now.
const unreadEvery = 100 * time.Millisecond

// namespaceChanged passes on what discovery found. The links of a namespace may have
// been read before it was: they are passed on as they are now.
func (a *Agent) namespaceChanged(c discover.Change) {
	if c.New == nil {
		a.slots.DropNamespace(c.Old.Cookie, c.Time)
		return
	}
	for i := range c.New.VMMs { // before their end can be missed
		a.vmms.watch(c.New.VMMs[i].Process.PID)
	}
	if s := c.New.Slot; s != nil && s.Record != nil && s.Record.Sandbox != nil {
		a.vmms.watch(s.Record.Sandbox.VMMProcess.PID)
	}
	a.slots.TakeNamespace(namespaceOf(c.New), c.Time)
	a.links.AddNamespace(c.New.NSID) // the kernel may give an nsid late; what is known is not read again
	if c.Old == nil || c.Old.NSID != c.New.NSID {
		a.linksOf(c.New.Cookie)
	}
	a.holding.ask(a.slots.In(c.New.Cookie)...)
}

// linksOf passes on the links of a namespace as they are.
func (a *Agent) linksOf(c netns.Cookie) {
	for _, l := range a.links.In(c) {
		a.slots.TakeLink(slots.Change{Of: l.Key(), New: linkOf(l), Found: true})
	}
	if a.links.Known(c) {
		a.slots.Linked(c, time.Now())
	}
}

// linkChanged passes a link's change on. Behind a change of a tap there may be a VMM
// that came or went, so processes are looked at too.
func (a *Agent) linkChanged(c link.Change) {
	a.slots.TakeLink(changeOf(c))
	if l := cmp.Or(c.New, c.Old); l.IsTap() && (c.New == nil || c.Old == nil || c.Old.Carrier != c.New.Carrier) {
		a.discover.Rescan()
	}
	if c.Old != nil && c.New != nil && (c.Old.Master != c.New.Master || c.Old.NoARP != c.New.NoARP) {
		if of := c.Key(); of.Netns == a.self {
			a.inspector.asked.ask(a.slots.Beyond(netip.Prefix{}, of.Ifindex)...)
		} else {
			a.inspector.asked.ask(a.slots.In(of.Netns)...)
		}
	}
	if in := c.Key().Netns; c.Asked && a.slots.Unread(in) { // the first of several
		a.linksOf(in)
	}
}
