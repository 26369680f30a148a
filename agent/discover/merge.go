package discover

import (
	"cmp"
	"net/netip"
	"slices"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// sources is what is known of whose the namespaces are, at one moment.
type sources struct {
	records []registry.Slot
	vmms    []*VMM
	alive   func(proc.Process) path.Tristate
	named   *named
}

// index orders the sources by namespace.
func (s sources) index() claims {
	c := claims{sources: s, byCookie: map[netns.Cookie]*registry.Slot{}, byName: map[string]*registry.Slot{}, vmms: map[netns.Cookie][]*VMM{}}
	for i := range s.records {
		r := &s.records[i]
		switch {
		case r.Cookie != 0:
			c.byCookie[r.Cookie] = r
		case s.alive(r.Owner) == path.Yes: // being made; a dead launcher's names prove nothing
			c.byName[r.Netns] = r
		}
	}
	for _, v := range s.vmms {
		c.vmms[v.Netns] = append(c.vmms[v.Netns], v)
	}
	for _, vs := range c.vmms {
		slices.SortFunc(vs, func(a, b *VMM) int {
			return cmp.Or(cmp.Compare(a.Process.Start, b.Process.Start), cmp.Compare(a.Process.PID, b.Process.PID))
		})
	}
	return c
}

// claims is sources, by namespace.
type claims struct {
	sources
	byCookie map[netns.Cookie]*registry.Slot
	byName   map[string]*registry.Slot
	vmms     map[netns.Cookie][]*VMM
}

// slot says whose slot a namespace is: by a record, else by its name.
func (c claims) slot(n *Namespace) *Slot {
	if r := c.record(n); r != nil {
		return c.ofRecord(r)
	}
	if n.Host || n.Name == "" {
		return nil
	}
	return c.named.slot(n.Name)
}

func (c claims) record(n *Namespace) *registry.Slot {
	if r := c.byCookie[n.Cookie]; r != nil {
		return r
	}
	for _, name := range n.Names {
		if r := c.byName[name]; r != nil {
			return r
		}
	}
	return nil
}

func (c claims) ofRecord(r *registry.Slot) *Slot {
	addr := func(text string) netip.Addr {
		a, _ := netip.ParseAddr(text) // what is no address is not known
		return a
	}
	s := &Slot{Launcher: "tapwatch", Tap: r.Tap, HostVeth: r.HostVeth, Record: r, OwnerAlive: c.alive(r.Owner),
		Addrs: Addrs{Vpeer: addr(r.VpeerIP), Host: addr(r.HostIP), Tap: e2b.TapIP(), Guest: addr(r.GuestIP)}}
	if s.Addrs.Vpeer.IsValid() {
		s.Addrs.Client = s.Addrs.Vpeer.Prev() // the other end of the /31
	}
	if r.Sandbox != nil {
		s.VMMAlive = c.alive(r.Sandbox.VMMProcess)
	}
	return s
}
