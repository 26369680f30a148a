package probe

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// verdict is what a program of another returns: both end the search for one.
const verdict = 0 // TC_ACT_OK and TCX_PASS

// foreign is another's program, which counts the frames that it decides about.
type foreign struct {
	t     *testing.T
	prog  *ebpf.Program
	count *ebpf.Map
}

func newForeign(t *testing.T) *foreign {
	t.Helper()
	count, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { count.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, count.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, verdict).WithSymbol("out"), asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return &foreign{t: t, prog: prog, count: count}
}

func (f *foreign) counted() (n uint64) {
	f.t.Helper()
	if err := f.count.Lookup(uint32(0), &n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

// filter puts the program at a priority of both directions, and clsact where
// there is none.
func (f *foreign) filter(ns string, d netns.Device, priority uint16) {
	f.t.Helper()
	nettest.In(f.t, ns, func() error {
		if kind, err := clsactKind(d); err != nil || kind == "" {
			if err := netlink.QdiscAdd(clsact(d)); err != nil {
				return err
			}
		}
		for _, dir := range directions {
			err := netlink.FilterAdd(&netlink.BpfFilter{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: int(d.Ifindex), Parent: dir.parent, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL},
				Fd:          f.prog.FD(), Name: "foreign", DirectAction: true,
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *foreign) tcx(ns string, d netns.Device, where link.Anchor) {
	f.t.Helper()
	nettest.In(f.t, ns, func() error {
		for _, dir := range directions {
			l, err := link.AttachTCX(link.TCXOptions{Interface: int(d.Ifindex), Program: f.prog, Attach: dir.tcx, Anchor: where})
			if err != nil {
				return err
			}
			f.t.Cleanup(func() { l.Close() })
		}
		return nil
	})
}

// Another's filters and programs, whether they were there before us or came
// after, stay and see every frame through attach, restart, kill and cleanup; and
// so do we, although they end the search for a verdict.
func TestForeignHooksKeepWorking(t *testing.T) {
	t.Parallel()
	before, after := true, false
	for _, tt := range []struct {
		name  string
		tcx   bool // needs it
		mode  Mode
		put   func(f *foreign, ns string, d netns.Device)
		first bool // put before us
	}{
		{"filter at 1, before us", false, ModeAuto, func(f *foreign, ns string, d netns.Device) { f.filter(ns, d, 1) }, before},
		{"filter at 2, before us", false, ModeAuto, func(f *foreign, ns string, d netns.Device) { f.filter(ns, d, 2) }, before},
		{"filter at 2, after us", false, ModeAuto, func(f *foreign, ns string, d netns.Device) { f.filter(ns, d, 2) }, after},
		{"filter at 65535, after us", false, ModeAuto, func(f *foreign, ns string, d netns.Device) { f.filter(ns, d, 65535) }, after},
		{"filter at 1 and tcx", true, ModeTCX, func(f *foreign, ns string, d netns.Device) { f.filter(ns, d, 1) }, before},
		{"TCX before us", true, ModeAuto, func(f *foreign, ns string, d netns.Device) { f.tcx(ns, d, nil) }, before},
		{"TCX before us, tcx", true, ModeTCX, func(f *foreign, ns string, d netns.Device) { f.tcx(ns, d, link.Head()) }, before},
		{"TCX after us, tcx", true, ModeTCX, func(f *foreign, ns string, d netns.Device) { f.tcx(ns, d, link.Tail()) }, after},
		{"filter at 1 and tracepoint", false, ModeTracepoint, func(f *foreign, ns string, d netns.Device) { f.filter(ns, d, 1) }, after},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tcx && haveTCX() != nil {
				return // there is none on this kernel to live with
			}
			t.Parallel()
			foreignLife(t, tt.mode, tt.put, tt.first)
		})
	}
}

func foreignLife(t *testing.T, mode Mode, put func(*foreign, string, netns.Device), first bool) {
	ns, d, file := tap(t)
	silence(t, ns)
	g := newGuest(t, ns, d, file)
	f := newForeign(t)
	if first {
		put(f, ns, d)
	}
	exchange := func(phase string, p *Probe) {
		t.Helper()
		theirs := f.counted()
		var ours Counters
		if p != nil {
			var err error
			if ours, err = p.Counters(d); err != nil {
				t.Fatal(phase, ": ", err)
			}
		}
		for range 5 {
			g.send(ethernet(g.host, guestMAC, unix.ETH_P_IPV6, ipv6()))
			transmit(t, ns, d, ethernet(guestMAC, g.host, unix.ETH_P_IPV6, ipv6()))
		}
		nettest.Eventually(t, phase+": they see 10 frames", func() bool { return f.counted() == theirs+10 })
		if p != nil {
			eventually(t, p, d, phase+": we see 10 frames", func(c Counters) bool {
				return c.ReceivePackets == ours.ReceivePackets+5 && c.TransmitPackets == ours.TransmitPackets+5
			})
		}
	}
	dir := t.TempDir() + "/hooks"
	start := func() *Probe {
		t.Helper()
		p, err := Load(Config{HooksDir: dir, Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
		return p
	}
	stop := func(p *Probe) {
		t.Helper()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p := start()
	if !first {
		put(f, ns, d)
	}
	exchange("attached", p)
	stop(p)
	exchange("killed", nil)
	p = start()
	exchange("restarted", p)
	if err := p.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	exchange("clean exit", nil)
	stop(p)
	p = start()
	stop(p)
	if _, err := Cleanup(dir); err != nil {
		t.Fatal(err)
	}
	exchange("cleaned up", nil)
	nettest.In(t, ns, func() error {
		fs, err := p.hooks.filtersOf(d)
		if err == nil && (fs[0] != nil || fs[1] != nil) {
			t.Error("filters of ours are left")
		}
		return err
	})
}
