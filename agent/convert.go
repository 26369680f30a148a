package agent

import (
	"maps"

	"tapwatch/agent/discover"
	"tapwatch/agent/identity"
	"tapwatch/agent/link"
	"tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/clean"
)

// What the parts that ask the kernel found, in the words of slots.

func changeOf(c link.Change) slots.Change {
	out := slots.Change{Time: c.Time, Of: c.Key(), Found: c.Old == nil && c.Asked, Downs: c.Downs()}
	if c.New != nil {
		out.New = linkOf(c.New)
	}
	return out
}

func linkOf(l *link.Link) *slots.Link {
	return &slots.Link{
		IsTap: l.IsTap(), IsVeth: l.Kind == "veth", Peer: l.Peer,
		Device: path.Device{
			Name: l.Name, Ifindex: l.Ifindex, Kind: l.Kind, Exists: path.Yes, Persistent: persistenceOf(l),
			AdminUp: path.Known(l.AdminUp), Carrier: carrierOf(l), Operstate: l.Operstate.String(), OperstateStaleSince: l.StaleSince,
			NoARP: l.NoARP, MTU: l.MTU, MAC: l.Addr.String(), Ups: l.UpCount, Downs: l.DownCount,
		},
	}
}

// persistenceOf says whether a tap outlives its holder. The kernel reports that a down
// tap has become persistent with its next change only.
func persistenceOf(l *link.Link) path.Tristate {
	if l.Kind != "tun" {
		return path.Unknown
	}
	return path.Known(l.Tun.Persistent)
}

func carrierOf(l *link.Link) path.Tristate {
	switch l.Carrier {
	case link.Up:
		return path.Yes
	case link.Down:
		return path.No
	}
	return path.Unknown
}

func namespaceOf(e *discover.Entry) slots.Namespace {
	n := slots.Namespace{Cookie: e.Cookie, Name: clean.Label(e.Label()), Path: e.Path, Linked: e.Linked()}
	if e.Slot != nil {
		n.Plan = planOfSlot(e.Slot)
	}
	for i := range e.VMMs {
		n.Claims = append(n.Claims, vmmOf(e.VMMs[i]))
	}
	return n
}

func planOfSlot(s *discover.Slot) *slots.Plan {
	p := &slots.Plan{Launcher: s.Launcher, Tap: s.Tap, HostVeth: s.HostVeth, Addrs: slots.Addrs(s.Addrs), Assumed: s.Record == nil}
	r := s.Record
	if r == nil {
		return p
	}
	p.OwnerPID, p.OwnerAlive = r.Owner.PID, s.OwnerAlive
	if b := r.Sandbox; b != nil {
		p.Sandbox = &slots.Recorded{
			Identity: slots.Identity{SandboxID: b.ID, Name: b.Name, TemplateID: b.TemplateID, Launcher: s.Launcher, Console: b.Console, Tap: s.Tap},
			BuildID:  b.BuildID, TemplateDir: b.TemplateDir, State: b.State, Shape: b.Shape, Created: b.CreatedAt.UTC(),
			VMM: slots.Process(b.VMMProcess), VMMStarted: b.VMMProcess.Started(), VMMAlive: s.VMMAlive,
		}
	}
	return p
}

func vmmOf(v *discover.VMM) slots.VMM {
	return slots.VMM{Process: slots.Process(v.Process), Started: v.Started, Command: clean.Label(v.Command), Parent: v.Parent, Zombie: v.Zombie, Identity: identityOf(&v.Identity)}
}

// direct are the launchers whose VMMs have no network but a tap: QEMU and Cloud
// Hypervisor may do without.
var direct = map[string]bool{"e2b": true, "forkd": true, "firecracker": true, "firecracker-containerd": true}

func identityOf(i *identity.Identity) slots.Identity {
	return slots.Identity{SandboxID: i.SandboxID, Name: i.Name, TemplateID: i.Template, Team: i.Team, Labels: maps.Clone(i.Labels),
		Launcher: i.Launcher, Socket: i.APISocket, Tap: i.Expect.Tap, Guest: i.Expect.Guest, Direct: direct[i.Launcher], Ignore: i.Role == identity.RoleIgnore,
		Silence: path.Silence{Until: i.Silence.Until, Reason: i.Silence.Reason}}
}

// histogram is one, for the metrics.
func histogram(t slots.Times) metrics.Histogram {
	return metrics.Histogram{Bounds: t.Bounds, Counts: t.Counts, Sum: t.Sum}
}
