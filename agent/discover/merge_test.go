package discover

import (
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"tapwatch/agent/identity"
	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
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

// mustRules compiles rules that come before those of the known launchers.
func mustRules(t testing.TB, rules ...identity.Rule) *identity.Set {
	t.Helper()
	set, err := identity.Compile(rules, identity.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func record(cookie netns.Cookie, owner proc.Process, s *registry.Sandbox) registry.Slot {
	return registry.Slot{
		Index: 110, Netns: "ns-110", Cookie: cookie, HostVeth: "veth-110", Tap: "tap0",
		VpeerIP: "10.12.0.221", HostIP: "10.11.0.110", GuestIP: "169.254.0.21", Owner: owner, Sandbox: s,
	}
}

func TestWhoseSlot(t *testing.T) {
	rules := mustRules(t)
	in := func(c netns.Cookie, names ...string) Namespace {
		return Namespace{Cookie: c, Name: label(names, rules), Names: names}
	}
	own := in(1, "ns-110")
	own.Host = true
	sandbox := &registry.Sandbox{ID: "sbx", TemplateID: "base", State: registry.Running, VMMProcess: qemu, Shape: registry.Relay, CreatedAt: created}
	ended := &registry.Sandbox{ID: "sbx", State: registry.Failed, Reason: "vmm exited", VMMProcess: deadOne}
	none := &registry.Sandbox{ID: "sbx", State: registry.Booting}
	addrs := Addrs{
		Vpeer: netip.MustParseAddr("10.12.0.221"), Client: netip.MustParseAddr("10.12.0.220"), Host: netip.MustParseAddr("10.11.0.110"),
		Tap: netip.MustParseAddr("169.254.0.22"), Guest: netip.MustParseAddr("169.254.0.21"),
	}
	byName := &Slot{Launcher: "e2b", Tap: "tap0", HostVeth: "veth-110", Addrs: addrs}
	byRecord := func(r registry.Slot, owner, vmm path.Tristate) *Slot {
		return &Slot{Launcher: "tapwatch", Tap: "tap0", HostVeth: "veth-110", Addrs: addrs, Record: &r, OwnerAlive: owner, VMMAlive: vmm}
	}
	odd := record(1, launcher, nil)
	odd.VpeerIP, odd.HostIP = "", "10.11.0.x"
	for name, c := range map[string]struct {
		in      Namespace
		records []registry.Slot
		want    *Slot
	}{
		"a name that says nothing":      {in: in(1, "cni-1234")},
		"no name":                       {in: Namespace{Cookie: 1, Last: "ns-110"}},
		"E2B's name":                    {in: in(1, "ns-110"), want: byName},
		"several names, one of them so": {in: in(1, "alias", "ns-110"), want: byName},
		"E2B's name of our own":         {in: own},
		"another launcher's name":       {in: in(1, "forkd-child-3"), want: &Slot{Launcher: "forkd"}},
		"the record of an idle slot": {
			in: in(1, "ns-110"), records: []registry.Slot{record(1, launcher, nil)},
			want: byRecord(record(1, launcher, nil), path.Yes, path.Unknown),
		},
		"the record of a sandbox": {
			in: in(1, "any"), records: []registry.Slot{record(1, launcher, sandbox)},
			want: byRecord(record(1, launcher, sandbox), path.Yes, path.Yes),
		},
		"the record of a sandbox without a name": {
			in: Namespace{Cookie: 1}, records: []registry.Slot{record(1, launcher, sandbox)},
			want: byRecord(record(1, launcher, sandbox), path.Yes, path.Yes),
		},
		"a launcher and a VMM that are dead": {
			in: in(1, "any"), records: []registry.Slot{record(1, deadOne, ended)},
			want: byRecord(record(1, deadOne, ended), path.No, path.No),
		},
		"a sandbox that has no VMM yet": {
			in: in(1, "any"), records: []registry.Slot{record(1, launcher, none)},
			want: byRecord(record(1, launcher, none), path.Yes, path.Unknown),
		},
		"a record of the name's last namespace": {
			in: in(2, "ns-110"), records: []registry.Slot{record(1, launcher, sandbox)}, want: byName,
		},
		"a record without cookie, its launcher at work": {
			in: in(2, "ns-110"), records: []registry.Slot{record(0, launcher, nil)},
			want: byRecord(record(0, launcher, nil), path.Yes, path.Unknown),
		},
		"a record without cookie, its launcher dead": {
			in: in(2, "ns-110"), records: []registry.Slot{record(0, deadOne, sandbox)}, want: byName,
		},
		"addresses that are none": {
			in: in(1, "ns-110"), records: []registry.Slot{odd},
			want: &Slot{Launcher: "tapwatch", Tap: "tap0", HostVeth: "veth-110", Record: &odd, OwnerAlive: path.Yes, Addrs: Addrs{Tap: addrs.Tap, Guest: addrs.Guest}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			from := sources{records: c.records, alive: checkAlive, named: (*named)(nil).by(rules, e2b.DefaultPlan(), 1)}
			if got := from.index().slot(&c.in); !got.equal(c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestVMMsOfANamespaceTheEldestFirst(t *testing.T) {
	at := func(pid int, start uint64, where netns.Cookie) *VMM {
		return &VMM{Process: proc.Process{PID: pid, Start: start}, Netns: where}
	}
	young, old, twin, elsewhere, nowhere := at(5, 9, 1), at(9, 2, 1), at(8, 2, 1), at(7, 1, 2), at(6, 1, 0)
	c := sources{vmms: []*VMM{young, old, twin, elsewhere, nowhere}, alive: checkAlive}.index()
	if got := c.vmms[1]; !slices.Equal(got, []*VMM{twin, old, young}) {
		t.Errorf("%+v", got)
	}
	if got := c.vmms[2]; !slices.Equal(got, []*VMM{elsewhere}) {
		t.Errorf("%+v", got)
	}
}

func TestSlotsByName(t *testing.T) {
	byName := (*named)(nil).by(mustRules(t), e2b.DefaultPlan(), 10)
	for name, want := range map[string]netip.Addr{
		"ns-1":     netip.MustParseAddr("10.12.0.3"),
		"ns-110":   netip.MustParseAddr("10.12.0.221"),
		"ns-32767": netip.MustParseAddr("10.12.255.255"),
		"ns-32768": {}, // beyond the plan
	} {
		s := byName.slot(name)
		if s == nil || s.Launcher != "e2b" || s.Addrs.Vpeer != want || s.HostVeth != "veth-"+name[3:] {
			t.Errorf("%s: %+v", name, s)
		}
		if byName.slot(name) != s {
			t.Errorf("%s: read again", name)
		}
	}
	for _, name := range []string{"", "ns-", "ns-0", "ns-01", "ns-1x", "xns-1", "ns--1", "ns-1234567890"} {
		if s := byName.slot(name); s != nil {
			t.Errorf("%q was taken for %+v", name, s)
		}
	}
	if byName.by(byName.rules, byName.plan, 10) != byName {
		t.Error("forgotten without need")
	}
	for i := range 200 {
		byName.slot("cni-" + strconv.Itoa(i))
	}
	if n := byName.by(byName.rules, byName.plan, 10); len(n.slots) != 0 {
		t.Errorf("%d names kept of 10", len(n.slots))
	}
	if n := byName.by(mustRules(t), byName.plan, 200); n == byName {
		t.Error("other rules, and the same answers")
	}
}

func TestLabels(t *testing.T) {
	rules := mustRules(t)
	for name, c := range map[string]struct {
		of   Namespace
		want string
	}{
		"a name":              {Namespace{Name: "ns-1", Inode: 4}, "ns-1"},
		"none":                {Namespace{Inode: 4026532001}, "net:[4026532001]"},
		"lost":                {Namespace{Last: "ns-1", Inode: 4}, "ns-1"},
		"our own":             {Namespace{Host: true, Name: "ns-1"}, HostName},
		"one called as ours":  {Namespace{Name: HostName}, "/run/netns/host"},
		"the slot's of two":   {Namespace{Name: label([]string{"a", "ns-1"}, rules)}, "ns-1"},
		"the first of others": {Namespace{Name: label([]string{"a", "b"}, rules)}, "a"},
	} {
		if got := c.of.Label(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
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
	idle := &Entry{Namespace: Namespace{Cookie: 2}, Slot: &Slot{Launcher: "e2b"}}
	bound := &Entry{Namespace: Namespace{Cookie: 3}, VMMs: []*VMM{{}}}
	recorded := &Entry{Namespace: Namespace{Cookie: 4}, Slot: &Slot{Record: &registry.Slot{Sandbox: &registry.Sandbox{}}}}
	got := diff(nil, map[netns.Cookie]*Entry{1: none, 2: idle, 3: bound, 4: recorded}, created)
	for i, want := range []*Entry{bound, recorded, idle, none} {
		if got[i].New != want {
			t.Errorf("change %d is of cookie %d, want %d", i, got[i].Cookie(), want.Cookie)
		}
	}
}
