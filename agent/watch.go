package agent

import (
	"context"

	"tapwatch/agent/discover"
	"tapwatch/agent/link"
)

// watch applies what is told: of namespaces and of links. It never asks the
// kernel, so that what is told is in the model at once.
func (a *Agent) watch(ctx context.Context) error {
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
		case c, ok := <-a.links.Changes():
			if !ok {
				return nil
			}
			a.linkChanged(c)
		}
	}
}

func (a *Agent) namespaceChanged(c discover.Change) {
	a.vmms.follow(c) // before its end can be missed
	a.model.namespaceChanged(c)
	if c.New == nil {
		return
	}
	a.links.AddNamespace(c.New.NSID)
	if c.New.Binding != nil {
		a.holding.ask(a.model.get(c.New.Cookie))
	}
}

// linkChanged passes a link's change on. Behind a change of a tap there may be a
// VMM that came or went, so holders and processes are looked at too.
func (a *Agent) linkChanged(c link.Change) {
	if s := a.model.linkChanged(c); s != nil {
		a.holding.ask(s)
		a.discover.Rescan()
	}
}
