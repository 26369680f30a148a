package discover

import (
	"cmp"
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
	vmms    []VMM
	alive   func(proc.Process) path.Tristate
}

// index orders the sources by namespace.
func (s sources) index() claims {
	c := claims{alive: s.alive, byCookie: map[netns.Cookie]registry.Slot{}, byName: map[string]registry.Slot{}, vmms: map[netns.Cookie][]VMM{}}
	for _, r := range s.records {
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
		slices.SortFunc(vs, func(a, b VMM) int { return cmp.Compare(a.Process.Start, b.Process.Start) })
	}
	return c
}

// claims is sources, by namespace.
type claims struct {
	alive    func(proc.Process) path.Tristate
	byCookie map[netns.Cookie]registry.Slot
	byName   map[string]registry.Slot
	vmms     map[netns.Cookie][]VMM // the youngest last
}

// bind says whose a namespace is. A record that names a sandbox comes first,
// then a Firecracker process, then an idle slot's record, then E2B's name.
func (c claims) bind(n Namespace) *Binding {
	rec, recorded := c.record(n)
	vmms := c.vmms[n.Cookie]
	switch {
	case recorded && (rec.Sandbox != nil || len(vmms) == 0):
		b := c.ofRecord(rec)
		b.VMMs = len(vmms)
		return &b
	case len(vmms) > 0:
		b := ofVMM(n, vmms[len(vmms)-1])
		b.VMMs = len(vmms)
		return &b
	}
	if b, ok := e2bSlot(n.Name); ok {
		b.Source, b.Idle = E2B, true
		return &b
	}
	return nil
}

func (c claims) record(n Namespace) (registry.Slot, bool) {
	if r, ok := c.byCookie[n.Cookie]; ok {
		return r, true
	}
	for _, name := range n.Names {
		if r, ok := c.byName[name]; ok {
			return r, true
		}
	}
	return registry.Slot{}, false
}

func (c claims) ofRecord(r registry.Slot) Binding {
	b := Binding{
		Source:     Tapwatch,
		Index:      r.Index,
		HostVeth:   r.HostVeth,
		Tap:        r.Tap,
		VpeerIP:    r.VpeerIP,
		HostIP:     r.HostIP,
		GuestIP:    r.GuestIP,
		OwnerAlive: c.alive(r.Owner),
		Idle:       r.Sandbox == nil,
	}
	if s := r.Sandbox; s != nil {
		b.SandboxID, b.Name = s.ID, s.Name
		b.TemplateID, b.BuildID, b.Alias, b.TemplateDir = s.TemplateID, s.BuildID, s.Alias, s.TemplateDir
		b.State, b.Reason, b.Shape, b.Console = s.State, s.Reason, s.Shape, s.Console
		b.CreatedAt = s.CreatedAt.UTC()
		b.VMM, b.VMMAlive = s.VMMProcess, c.alive(s.VMMProcess)
	}
	return b
}

// ofVMM binds by a foreign process; its slot's facts are those of E2B's plan
// where the namespace has such a name. Else only what is the same in every slot
// of E2B's is known, whose command line it is.
func ofVMM(n Namespace, v VMM) Binding {
	b, ok := e2bSlot(n.Name)
	if !ok {
		b.Tap, b.GuestIP = e2b.Tap, e2b.GuestAddr
	}
	b.Source = Firecracker
	b.SandboxID = v.SandboxID
	b.CreatedAt = v.Started
	b.VMM, b.VMMAlive, b.APISocket = v.Process, path.Yes, v.Socket
	if v.Zombie {
		b.VMMAlive = path.No
	}
	return b
}
