package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	ebpflink "github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

func TestHiding(t *testing.T) {
	for what, c := range map[string]struct {
		link, hook uint64 // the next look; the last saw 100 and 200
		now        bool
		hidden     uint64
		waits      bool // nothing is concluded yet
	}{
		"all seen":             {link: 10_000, hook: 10_100},
		"more seen, dropped":   {link: 5_000, hook: 90_000},
		"none seen":            {link: 10_100, hook: 200, now: true, hidden: 10_000},
		"less than half":       {link: 10_100, hook: 5_199, now: true, hidden: 5_001},
		"half":                 {link: 10_100, hook: 5_200},
		"too little to say":    {link: 4_195, hook: 200, waits: true},
		"nothing passed":       {link: 100, hook: 200, waits: true},
		"counters began anew":  {link: 10_000, hook: 3},
		"dropped, none passed": {link: 100, hook: 9_000, waits: true},
	} {
		t.Run(what, func(t *testing.T) {
			h := hiding{link: 100, hook: 200}
			h.compare(c.link, c.hook)
			want := hiding{link: c.link, hook: c.hook, hidden: c.hidden, now: c.now}
			if c.waits {
				want = hiding{link: 100, hook: 200}
			}
			if h != want {
				t.Errorf("%+v, want %+v", h, want)
			}
		})
	}
}

// A tap rests once it was looked at without carrier, until its carrier comes or came.
func TestRests(t *testing.T) {
	d := netns.Device{Netns: 10, Ifindex: 2}
	c := &counters{tallies: map[netns.Device]*tally{d: {hidings: hidings{looked: true}}}}
	for _, step := range []struct {
		what  string
		is    *link.Link
		rests bool
	}{
		{"its carrier went since the last look", &link.Link{Carrier: link.Down, DownCount: 1}, false},
		{"without carrier still", &link.Link{Carrier: link.Down, DownCount: 1}, true},
		{"its carrier came and went", &link.Link{Carrier: link.Down, DownCount: 2}, false},
		{"with carrier", &link.Link{Carrier: link.Up, DownCount: 2}, false},
		{"its carrier went", &link.Link{Carrier: link.Down, DownCount: 3}, false},
		{"without carrier again", &link.Link{Carrier: link.Down, DownCount: 3}, true},
		{"unknown", nil, false},
	} {
		if got := c.rests(d, step.is); got != step.rests {
			t.Errorf("%s: rests %v", step.what, got)
		}
	}
}

// boundWithTap binds the slot and returns a tap whose holder says something
// each time that it is asked to.
func (h *host) boundWithTap() (speak func()) {
	h.t.Helper()
	h.bind(registry.Running)
	tap := nettest.AttachTap(h.t, h.slot.Netns, "tap0")
	frame := make([]byte, 10+200) // struct virtio_net_hdr comes first
	copy(frame[10:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	return func() {
		if _, err := tap.Write(frame); err != nil {
			h.t.Fatal(err)
		}
	}
}

// traffic is that of the slot's tap; nothing is known in it where there are no hooks.
func (h *host) traffic() path.Traffic {
	for _, s := range h.agent.Slots() { // other tests' namespaces may be slots too
		if s.Netns == h.slot.Netns && s.Traffic != nil {
			return *s.Traffic
		}
	}
	return path.Traffic{}
}

// hidden waits until so many received bytes are called hidden at least.
func (h *host) hidden(least uint64, what string, speak func()) {
	h.t.Helper()
	nettest.Eventually(h.t, what, func() bool {
		speak()
		now := h.traffic()
		return now.HiddenReceive != nil && *now.HiddenReceive >= least
	})
}

// TestHiddenHooksAreFound puts another's filter before ours that ends the chain.
func TestHiddenHooksAreFound(t *testing.T) {
	h := start(t)
	speak := h.boundWithTap()
	h.hidden(0, "compared", speak)
	if n := *h.traffic().HiddenReceive; n != 0 {
		t.Fatalf("%d bytes hidden by nobody", n)
	}
	prog := passing(t)
	nettest.In(t, h.slot.Netns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
			Fd:          prog.FD(), Name: "foreign", DirectAction: true,
		})
	})
	h.hidden(hiddenBytes, "hidden bytes told", speak)
}

// passing is another's program, which lets everything pass and ends the chain:
// TC_ACT_OK and TCX_PASS are the same number.
func passing(t *testing.T) *ebpf.Program {
	t.Helper()
	return saying(t, 0)
}

// saying is another's program, which says one thing of every frame.
func saying(t *testing.T, what int32) *ebpf.Program {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, what), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog
}

// TestHiddenByTCX puts another's TCX program before our hooks. What it hides is
// told in every mode; auto goes before it.
func TestHiddenByTCX(t *testing.T) {
	for _, mode := range []probe.Mode{probe.ModeAuto, probe.ModeTC, probe.ModeTCX} {
		t.Run(string(mode), func(t *testing.T) {
			if !haveTCX(t) {
				return // nobody's hooks can be hidden so
			}
			t.Parallel()
			h := startWith(t, Config{Every: 50 * time.Millisecond, AttachMode: mode})
			speak := h.boundWithTap()
			h.hidden(0, "compared", speak)
			prog := passing(t)
			nettest.In(t, h.slot.Netns, func() error {
				dev, err := netlink.LinkByName("tap0")
				if err != nil {
					return err
				}
				l, err := ebpflink.AttachTCX(ebpflink.TCXOptions{Interface: dev.Attrs().Index, Program: prog, Attach: ebpf.AttachTCXIngress, Anchor: ebpflink.Head()})
				if err == nil {
					t.Cleanup(func() { l.Close() })
				}
				return err
			})
			h.hidden(hiddenBytes, "hidden bytes told", speak)
			if mode != probe.ModeAuto {
				return
			}
			nettest.Eventually(t, "hooked by TCX", func() bool { return h.modeOfTap() == probe.ModeTCX })
			h.seenAgain(speak)
		})
	}
}

// modeOfTap is how the slot's own tap is hooked: other tests' taps are too.
func (h *host) modeOfTap() probe.Mode {
	h.t.Helper()
	var ifindex int
	nettest.In(h.t, h.slot.Netns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err == nil {
			ifindex = l.Attrs().Index
		}
		return err
	})
	return h.agent.probe.ModeOf(netns.Device{Netns: h.slot.Cookie, Ifindex: netns.Ifindex(ifindex)})
}

// haveTCX asks the agent's own look at the kernel.
func haveTCX(t *testing.T) bool {
	t.Helper()
	nettest.NeedRoot(t)
	p, err := probe.Load(probe.Config{HooksDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, c := range p.Capabilities() {
		if c.Name == string(probe.ModeTCX) {
			return c.Have
		}
	}
	t.Fatal("no capability tcx")
	return false
}

// seenAgain waits until the tap's frames are counted again.
func (h *host) seenAgain(speak func()) {
	h.t.Helper()
	last := h.traffic().ReceivePackets
	nettest.Eventually(h.t, "frames seen again", func() bool {
		speak()
		n := h.traffic().ReceivePackets
		return n != 0 && n != last
	})
}

// TestHooksTakenAwayComeBack removes clsact as a whole, as `tc qdisc del` does.
func TestHooksTakenAwayComeBack(t *testing.T) {
	h := start(t)
	speak := h.boundWithTap()
	h.hidden(0, "compared", speak)
	nettest.In(t, h.slot.Netns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		return netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
	})
	// The kernel reports the removal, before anything is concluded from what is hidden.
	nettest.Eventually(t, "hooks put back", func() bool { return len(h.filters()) >= 2 })
	h.seenAgain(speak)
}

// filters are those on the slot's tap, of whichever agent.
func (h *host) filters() (all []netlink.Filter) {
	h.t.Helper()
	h.onTap(func(l netlink.Link) error {
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			some, err := netlink.FilterList(l, parent)
			if err != nil {
				return err
			}
			all = append(all, some...)
		}
		return nil
	})
	return all
}

func hasClsact(t *testing.T, ns, tap string) (has bool) {
	t.Helper()
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName(tap)
		if err != nil {
			return err
		}
		qdiscs, err := netlink.QdiscList(l)
		has = slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool { return q.Type() == "clsact" })
		return err
	})
	return has
}

// target is the slot's sandbox, as workers know it.
func (h *host) target() slots.Target {
	h.t.Helper()
	of := h.agent.slots.Targets(h.agent.slots.In(h.slot.Cookie)...)
	if len(of) != 1 {
		h.t.Fatalf("%d sandboxes in the slot", len(of))
	}
	return of[0]
}
