package agent

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

// Two VMMs in one namespace, each with a tap of its own, are two sandboxes.
func TestTwoVMMsInOneNamespace(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	nettest.Tap(t, ns, "tap1")
	one := playE2B(t, ns, "itwo0", "tap0")
	two := playE2B(t, ns, "itwo1", "tap1")
	w.sandbox(ns, "tap0", "itwo0", one)
	w.sandbox(ns, "tap1", "itwo1", two)
	nettest.Eventually(t, "two places", func() bool { return len(w.places(ns)) == 2 }) // until it holds a tap, the second may want the first's
	one.kill()
	w.untilTap(ns, "tap0", "the first one's VMM gone", func(s path.Slot) bool { return finds(s, "vmm-exited") && s.Sandbox.VMMPID == one.pid() })
	if s := w.sandbox(ns, "tap1", "itwo1", two); finds(s, "vmm-exited") || s.Sandbox.VMMAlive != path.Yes {
		t.Errorf("the other one: %+v, %+v", s.Sandbox, s.Diagnosis.Findings)
	}
}

// A second VMM in a slot whose tap the first has: the elder is well, and the younger
// names it.
func TestTwoVMMsForOneTap(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	elder := playE2B(t, ns, "ielder", "tap0")
	w.sandbox(ns, "tap0", "ielder", elder)
	younger := playE2B(t, ns, "iyounger")
	if said := younger.does("open", "tap0"); !strings.Contains(said, "busy") {
		t.Fatalf("the younger's open: %s", said)
	}
	w.agent.discover.Rescan()
	busy := w.untilTap(ns, "tap0", "the younger finds the tap busy", func(s path.Slot) bool { return id(s) == "iyounger" && finds(s, "tap-busy") })
	if f := busy.Diagnosis.Findings[0]; busy.Sandbox.VMMPID != younger.pid() || !strings.Contains(f.Cause, strconv.Itoa(elder.pid())) || !strings.Contains(f.Cause, "ielder") {
		t.Errorf("%+v of %+v", f, busy.Sandbox)
	}
	if s := w.looked(w.sandbox(ns, "tap0", "ielder", elder)); len(wrong(s)) > 0 || s.Sandbox.VMMAlive != path.Yes {
		t.Errorf("the elder: %q, %+v", wrong(s), s.Sandbox)
	}
	younger.kill()
	nettest.Eventually(t, "the younger is forgotten or ended", func() bool {
		return slices.ContainsFunc(w.places(ns), func(s path.Slot) bool { return id(s) == "ielder" && s.Sandbox.VMMPID == elder.pid() }) &&
			!slices.ContainsFunc(w.places(ns), func(s path.Slot) bool { return id(s) == "iyounger" && s.Sandbox.VMMAlive == path.Yes })
	})
}

// A child that a VMM forked with its own command line does not become the VMM, neither
// while both live nor when it is left with the tap.
func TestForkedChildIsNoVMM(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fork []string
		seen bool // the child, before the VMM ends
	}{
		"a child of the same command line": {nil, true},
		"another program":                  {[]string{"sleep", "1000"}, true},
		"one that nobody saw":              {[]string{"sleep", "1000"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watch(t)
			ns, sandbox := e2bSlot(t), nettest.RandomName("ifork")
			vmm := playE2B(t, ns, sandbox, "tap0")
			w.sandbox(ns, "tap0", sandbox, vmm)
			child := w.forks(vmm, c.fork...)
			if c.seen {
				w.agent.discover.Rescan()
				w.agent.holding.ask(w.agent.slots.Taps()...)
				// Until the agent knows that the child holds the tap, it may want the VMM's.
				s := w.untilTap(ns, "tap0", "two holders, and one place", func(s path.Slot) bool {
					return len(s.Device.Holders) == 2 && len(w.places(ns)) == 1
				})
				if s.Sandbox == nil || s.Sandbox.VMMPID != vmm.pid() {
					t.Errorf("the VMM is %+v, not %d", s.Sandbox, vmm.pid())
				}
			}
			vmm.kill()
			s := w.untilTap(ns, "tap0", "the VMM has exited", func(s path.Slot) bool {
				return finds(s, "vmm-exited") && strings.Contains(s.Diagnosis.Findings[0].Cause, strconv.Itoa(child))
			})
			if s.Sandbox.VMMPID != vmm.pid() || s.Sandbox.VMMAlive != path.No || s.Device.Carrier != path.Yes || s.Sandbox.ID != sandbox {
				t.Errorf("%+v, carrier %s", s.Sandbox, s.Device.Carrier)
			}
			if e := strings.Join(s.Diagnosis.Findings[0].Evidence, "\n"); !strings.Contains(e, "was killed by SIGKILL from sh") {
				t.Errorf("evidence:\n%s", e)
			}
			w.agent.discover.Rescan()
			w.agent.holding.ask(w.agent.slots.Taps()...)
			w.agent.slots.Tick(1, time.Now())
			w.untilTap(ns, "tap0", "still so", func(s path.Slot) bool { return finds(s, "vmm-exited") && s.Sandbox.ID == sandbox })
		})
	}
}

// forks has a VMM fork a child that has its taps, which ends with the test.
func (w watching) forks(vmm *player, words ...string) (pid int) {
	w.t.Helper()
	said := vmm.does(append([]string{"fork"}, words...)...)
	pid, err := strconv.Atoi(said)
	if err != nil {
		w.t.Fatalf("fork: %s", said)
	}
	w.t.Cleanup(func() { endChild(pid) })
	return pid
}

// A tap that its VMM made goes with it: that is the VMM's end and no missing tap.
func TestTapThatGoesWithItsVMM(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for _, prefix := range []string{"ns-", "made-"} {
		ns, sandbox := namespace(t, prefix), nettest.RandomName("imade")
		vmm := play(t, standIn{program: "firecracker", args: []string{"--id", sandbox, "--api-sock", filepath.Join(shortDir(t), "x.socket")}, ns: ns, taps: []string{"tap0"}})
		nettest.SetUp(t, ns, "tap0", true)
		w.sandbox(ns, "tap0", sandbox, vmm)
		vmm.kill()
		s := w.untilTap(ns, "tap0", "the VMM has exited", func(s path.Slot) bool { return finds(s, "vmm-exited") && s.Device.Exists == path.No })
		if finds(s, "tap-missing") || s.Sandbox.ID != sandbox {
			t.Errorf("%s: %+v", ns, s.Diagnosis.Findings)
		}
		if e := strings.Join(s.Diagnosis.Findings[0].Evidence, "\n"); !strings.Contains(e, "was killed by SIGKILL from sh") {
			t.Errorf("%s: evidence:\n%s", ns, e)
		}
		got, err := w.client.History(t.Context(), sandbox)
		if err != nil || !slices.ContainsFunc(got.Events, func(e path.Event) bool {
			return e.Kind == path.VMMExited && strings.Contains(e.Text, "was killed by SIGKILL")
		}) {
			t.Errorf("%s: history %+v, %v", ns, got.Events, err)
		}
	}
}

// A VMM that did not find its tap and made one of its own: said of the slot, with the
// place where the tap is.
func TestTapMadeElsewhere(t *testing.T) {
	t.Parallel()
	w := watch(t)
	lost, ns := namespace(t, "lost-"), namespace(t, "ns-")
	nettest.Tap(t, lost, "tap0")
	vmm := playE2B(t, ns, "ilost", "tap0")
	nettest.SetUp(t, ns, "tap0", true)
	w.looked(w.sandbox(ns, "tap0", "ilost", vmm))
	s := w.untilTap(ns, "tap0", "made elsewhere", func(s path.Slot) bool { return named(s, "tap-elsewhere", "was made in") })
	if !slices.Contains(s.Device.Elsewhere, lost) && len(s.Device.Elsewhere) < 4 { // other tests have such taps too
		t.Errorf("elsewhere: %v", s.Device.Elsewhere)
	}
}

// A VMM that runs where no slot is, with a tap of its own making.
func TestMisplacedVMM(t *testing.T) {
	t.Parallel()
	w := watch(t)
	lost, slot := namespace(t, "lost-"), e2bSlot(t)
	vmm := playE2B(t, lost, "imisplaced", "tap0")
	nettest.SetUp(t, lost, "tap0", true)
	w.looked(w.sandbox(lost, "tap0", "imisplaced", vmm))
	w.untilTap(lost, "tap0", "misplaced", func(s path.Slot) bool { return finds(s, "vmm-misplaced") })
	if s := w.places(slot); len(s) != 1 || s[0].Diagnosis.State != path.Idle {
		t.Errorf("its slot: %+v", s)
	}
}

// A tap that is renamed while its VMM holds it is followed.
func TestRenamedTapIsFollowed(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	vmm := playE2B(t, ns, "irenamed", "tap0")
	w.sandbox(ns, "tap0", "irenamed", vmm)
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		return rename(l, "vm-eth")
	})
	s := w.looked(w.sandbox(ns, "vm-eth", "irenamed", vmm))
	if s.Device.WasCalled != "tap0" || len(wrong(s)) > 0 || len(w.places(ns)) != 1 {
		t.Errorf("%d places, was %q, wrong: %q", len(w.places(ns)), s.Device.WasCalled, wrong(s))
	}
	w.carrierSeries(s)
}

// What goes by the tap's name is no tap.
func TestTapOfAnotherKind(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for kind, link := range map[string]netlink.Link{
		"ifb":  &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}},
		"veth": &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "tap0"}, PeerName: "tap0peer"},
	} {
		ns, sandbox := namespace(t, "ns-"), nettest.RandomName("ikind")
		nettest.In(t, ns, func() error { return netlink.LinkAdd(link) })
		nettest.SetUp(t, ns, "tap0", true)
		playE2B(t, ns, sandbox)
		w.agent.discover.Rescan()
		s := w.untilTap(ns, "tap0", "the wrong kind", func(s path.Slot) bool { return id(s) == sandbox && named(s, "tap-wrong-kind", "not a tap") })
		if s.Device.Kind != kind || len(s.Device.Holders) > 0 {
			t.Errorf("a %s is %q, held by %+v", kind, s.Device.Kind, s.Device.Holders)
		}
	}
}
