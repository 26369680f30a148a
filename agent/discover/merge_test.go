package discover

import (
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

var (
	launcher = proc.Process{PID: 10, Start: 1}
	deadOne  = proc.Process{PID: 11, Start: 1}
	qemu     = proc.Process{PID: 12, Start: 5}
	created  = time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
)

func checkAlive(p proc.Process) path.Tristate {
	switch p {
	case proc.Process{}:
		return path.Unknown
	case deadOne:
		return path.No
	}
	return path.Yes
}

func record(cookie netns.Cookie, owner proc.Process, s *registry.Sandbox) registry.Slot {
	return registry.Slot{
		Index: 110, Netns: "ns-110", Cookie: cookie, HostVeth: "veth-110", Tap: "tap0",
		VpeerIP: "10.12.0.221", HostIP: "10.11.0.110", GuestIP: "169.254.0.21", Owner: owner, Sandbox: s,
	}
}

func TestBind(t *testing.T) {
	named := func(c netns.Cookie, names ...string) Namespace {
		return Namespace{Cookie: c, Name: label(names), Names: names}
	}
	sandbox := &registry.Sandbox{ID: "sbx", TemplateID: "base", State: registry.Running, VMMProcess: qemu, Shape: registry.Relay, CreatedAt: created}
	slot := Binding{Index: 110, HostVeth: "veth-110", Tap: "tap0", VpeerIP: "10.12.0.221", HostIP: "10.11.0.110", GuestIP: "169.254.0.21"}
	with := func(change func(*Binding)) *Binding {
		b := slot
		change(&b)
		return &b
	}
	fc := VMM{SandboxID: "foreign", Process: proc.Process{PID: 20, Start: 7}, Started: created.UTC(), Netns: 1}
	elder := VMM{SandboxID: "elder", Process: proc.Process{PID: 21, Start: 3}, Netns: 1}

	for name, c := range map[string]struct {
		in   Namespace
		from sources
		want *Binding
	}{
		"a name that says nothing": {in: named(1, "cni-1234")},
		"an idle slot of E2B's name": {
			in:   named(1, "ns-110"),
			want: with(func(b *Binding) { b.Source, b.Idle = E2B, true }),
		},
		"the record of an idle slot": {
			in:   named(1, "ns-110"),
			from: sources{records: []registry.Slot{record(1, launcher, nil)}},
			want: with(func(b *Binding) { b.Source, b.Idle, b.OwnerAlive = Tapwatch, true, path.Yes }),
		},
		"the record of a sandbox, its VMM dead": {
			in: named(1, "any"),
			from: sources{records: []registry.Slot{record(1, deadOne, &registry.Sandbox{
				ID: "sbx", State: registry.Failed, Reason: "vmm exited", VMMProcess: deadOne,
			})}},
			want: with(func(b *Binding) {
				b.Source, b.OwnerAlive, b.SandboxID, b.State, b.Reason = Tapwatch, path.No, "sbx", registry.Failed, "vmm exited"
				b.VMM, b.VMMAlive = deadOne, path.No
			}),
		},
		"a record wins over a process in the slot": {
			in:   named(1, "ns-110"),
			from: sources{records: []registry.Slot{record(1, launcher, sandbox)}, vmms: []VMM{fc}},
			want: with(func(b *Binding) {
				b.Source, b.OwnerAlive, b.SandboxID, b.TemplateID, b.State = Tapwatch, path.Yes, "sbx", "base", registry.Running
				b.Shape, b.CreatedAt, b.VMM, b.VMMAlive, b.VMMs = "relay", created.UTC(), qemu, path.Yes, 1
			}),
		},
		"a process wins over the record of an idle slot": {
			in:   named(1, "ns-110"),
			from: sources{records: []registry.Slot{record(1, launcher, nil)}, vmms: []VMM{fc}},
			want: with(func(b *Binding) {
				b.Source, b.SandboxID, b.CreatedAt, b.VMM, b.VMMAlive, b.VMMs = Firecracker, "foreign", created.UTC(), fc.Process, path.Yes, 1
			}),
		},
		"the younger of two processes": {
			in:   named(1, "ns-110"),
			from: sources{vmms: []VMM{fc, elder}},
			want: with(func(b *Binding) {
				b.Source, b.SandboxID, b.CreatedAt, b.VMM, b.VMMAlive, b.VMMs = Firecracker, "foreign", created.UTC(), fc.Process, path.Yes, 2
			}),
		},
		"a process in a namespace of no known plan": {
			in:   named(1, "odd"),
			from: sources{vmms: []VMM{fc}},
			want: &Binding{Source: Firecracker, Tap: "tap0", GuestIP: "169.254.0.21", SandboxID: "foreign", CreatedAt: created.UTC(), VMM: fc.Process, VMMAlive: path.Yes, VMMs: 1},
		},
		"a record of the name's last namespace": {
			in:   named(2, "ns-110"),
			from: sources{records: []registry.Slot{record(1, launcher, sandbox)}},
			want: with(func(b *Binding) { b.Source, b.Idle = E2B, true }),
		},
		"a record without cookie, its launcher at work": {
			in:   named(2, "ns-110"),
			from: sources{records: []registry.Slot{record(0, launcher, nil)}},
			want: with(func(b *Binding) { b.Source, b.Idle, b.OwnerAlive = Tapwatch, true, path.Yes }),
		},
		"a record without cookie, its launcher dead": {
			in:   named(2, "ns-110"),
			from: sources{records: []registry.Slot{record(0, deadOne, sandbox)}},
			want: with(func(b *Binding) { b.Source, b.Idle = E2B, true }),
		},
		"several names, one of them E2B's": {
			in:   named(1, "alias", "ns-110"),
			want: with(func(b *Binding) { b.Source, b.Idle = E2B, true }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.from.alive = checkAlive
			got := c.from.index().bind(c.in)
			if (got == nil) != (c.want == nil) || (got != nil && *got != *c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestE2BSlot(t *testing.T) {
	for name, vpeer := range map[string]string{
		"ns-1":     "10.12.0.3",
		"ns-110":   "10.12.0.221",
		"ns-32767": "10.12.255.255",
		"ns-32768": "", // beyond the plan
	} {
		if b, ok := e2bSlot(name); !ok || b.VpeerIP != vpeer || b.HostVeth != "veth-"+name[3:] {
			t.Errorf("%s: %+v, %v", name, b, ok)
		}
	}
	for _, name := range []string{"", "ns-", "ns-0", "ns-01", "ns-1x", "xns-1", "ns--1", "ns-1234567890"} {
		if b, ok := e2bSlot(name); ok {
			t.Errorf("%q was taken for %+v", name, b)
		}
	}
}

func TestDiffTellsWhatWentFirst(t *testing.T) {
	a := &Entry{Namespace: Namespace{Cookie: 9, NSID: 3}}
	b := &Entry{Namespace: Namespace{Cookie: 1, NSID: 3}}
	kept := &Entry{Namespace: Namespace{Cookie: 5}}
	got := diff(map[netns.Cookie]*Entry{9: a, 5: kept}, map[netns.Cookie]*Entry{1: b, 5: kept}, created)
	if len(got) != 2 || got[0].Old != a || got[0].New != nil || got[1].New != b || got[1].Old != nil {
		t.Errorf("%+v", got)
	}
}

func TestDiffTellsOfSandboxesFirst(t *testing.T) {
	none := &Entry{Namespace: Namespace{Cookie: 1}}
	idle := &Entry{Namespace: Namespace{Cookie: 2}, Binding: &Binding{Idle: true}}
	bound := &Entry{Namespace: Namespace{Cookie: 3}, Binding: &Binding{SandboxID: "i"}}
	got := diff(nil, map[netns.Cookie]*Entry{1: none, 2: idle, 3: bound}, created)
	for i, want := range []*Entry{bound, idle, none} {
		if got[i].New != want {
			t.Errorf("change %d is of cookie %d, want %d", i, got[i].Cookie(), want.Cookie)
		}
	}
}
