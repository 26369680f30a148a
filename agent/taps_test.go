package agent

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/discover"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// Taps of launchers that the agent knows by their command lines, or not at all. Each
// test makes its own namespaces, of names as those launchers give them.

// watching is an agent that watches taps which no record is of.
type watching struct{ *host }

func watch(t *testing.T) watching {
	t.Helper()
	return watching{startBare(t, Config{Every: 50 * time.Millisecond})}
}

// namespace makes one of that kind of name: the name with a random number at its end.
func namespace(t *testing.T, prefix string) string {
	t.Helper()
	for {
		ns := prefix + strconv.Itoa(20_000+rand.IntN(12_000))
		err := netns.Create(ns)
		if err == nil {
			t.Cleanup(func() { _ = netns.Delete(ns) }) // the test may have
			return ns
		}
		if !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
}

// places are those of a namespace, by name of the tap and pid of the VMM.
func (w watching) places(netnsName string) (all []path.Slot) {
	for _, s := range w.agent.Slots() {
		if s.Netns == netnsName {
			all = append(all, s)
		}
	}
	return all
}

// untilTap waits until the tap of that name, or one of several VMMs that want it, is so.
func (w watching) untilTap(ns, tap, what string, ok func(path.Slot) bool) path.Slot {
	w.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, s := range w.places(ns) {
			if s.Device.Name == tap && ok(s) {
				return s
			}
		}
	}
	for _, s := range w.places(ns) {
		w.t.Logf("%s: device %+v, sandbox %+v, %+v", s.Netns, s.Device, s.Sandbox, s.Diagnosis)
	}
	e := slices.IndexFunc(w.agent.discover.Snapshot(), func(e discover.Entry) bool { return e.Label() == ns })
	w.t.Fatalf("%s/%s: not so after %v: %s; its namespace is number %d of those found, the agent is ready: %v", ns, tap, patience, what, e, w.agent.Ready())
	return path.Slot{}
}

// sandbox waits for the sandbox of a VMM, with carrier.
func (w watching) sandbox(ns, tap, id string, vmm *player) path.Slot {
	w.t.Helper()
	return w.untilTap(ns, tap, "held by the VMM of "+id, func(s path.Slot) bool {
		return s.Sandbox != nil && s.Sandbox.ID == id && s.Sandbox.VMMPID == vmm.pid() &&
			s.Device.AdminUp == path.Yes && s.Device.Carrier == path.Yes && len(s.Device.Holders) > 0
	})
}

// looked has what is known of a sandbox read once more, and returns it as it is then.
func (w watching) looked(s path.Slot) path.Slot {
	w.t.Helper()
	for range 2 { // addresses first, then what leads to them
		for _, t := range w.agent.slots.Bound(nil) {
			if t.Key.Netns == s.Cookie {
				w.agent.inspector.look(t)
			}
		}
	}
	after := time.Now()
	w.agent.slots.Tick(0, after)
	var now path.Slot
	nettest.Eventually(w.t, "judged with what was found", func() bool {
		for _, v := range w.places(s.Netns) {
			if v.Device.Name == s.Device.Name && v.Sandbox != nil && v.Sandbox.ID == s.Sandbox.ID {
				now = v
				return len(v.Diagnosis.Hops) > 0 && v.Inside.TapAddrs != nil
			}
		}
		return false
	})
	return now
}

// wrong is what is wrong with a sandbox, also where it is excused as booting.
func wrong(s path.Slot) (all []string) {
	for _, f := range s.Diagnosis.Findings {
		if f.Code != "no-default-route" && f.Code != "tap-owner" { // of the test's namespaces
			all = append(all, f.Code+": "+f.Cause)
		}
	}
	for _, h := range s.Diagnosis.Hops {
		if h.State == path.Booting || h.State == path.Broken {
			all = append(all, string(h.Hop)+": "+h.Detail)
		}
	}
	return all
}

// named says whether a code is found, or excused as booting by its cause.
func named(s path.Slot, code, cause string) bool {
	if finds(s, code) {
		return true
	}
	return slices.ContainsFunc(s.Diagnosis.Hops, func(h path.HopState) bool { return h.State == path.Booting && strings.Contains(h.Detail, cause) })
}

// carrierSeries sees that a tap has its series.
func (w watching) carrierSeries(s path.Slot) {
	w.t.Helper()
	w.hasLine(fmt.Sprintf(`tapwatch_network_carrier{device=%q,netns=%q,sandbox_id=%q} 1`, s.Device.Name, s.Netns, id(s)))
	if m := w.metrics(); !strings.Contains(m, fmt.Sprintf(`tapwatch_tap_holder_info{comm=%q,device=%q,netns=%q`, s.Device.Holders[0].Command, s.Device.Name, s.Netns)) {
		w.t.Errorf("no holder %q of %s in:\n%s", s.Device.Holders[0].Command, s.Device.Name, grep(m, "tap_holder_info"))
	}
}

func id(s path.Slot) string {
	if s.Sandbox == nil {
		return ""
	}
	return s.Sandbox.ID
}

// socket is the API socket of an E2B sandbox.
func socket(t *testing.T, id string) string {
	return filepath.Join(shortDir(t), "fc-"+id+"-r4nd.sock")
}

// shortDir is for sockets: their paths have 107 bytes at most.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "fc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// e2bSlot makes a slot as E2B's orchestrator does.
func e2bSlot(t *testing.T) (ns string) {
	t.Helper()
	ns = namespace(t, "ns-")
	nettest.Tap(t, ns, "tap0")
	addAddr(t, ns, "tap0", netip.MustParseAddr("169.254.0.22"), 30)
	return ns
}

// Launchers are known by what they leave in the open: carrier, the holder's name and no
// false finding for each.
func TestShapesOfLaunchers(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for name, c := range map[string]struct {
		ns, tap, program string
		args             func(t *testing.T) []string
		addr             string // of the tap
		id, launcher     string
	}{
		"E2B": {ns: "ns-", tap: "tap0", program: "firecracker", addr: "169.254.0.22/30", id: "ie2b", launcher: "e2b",
			args: func(t *testing.T) []string { return []string{"--api-sock", socket(t, "ie2b")} }},
		"forkd": {ns: "forkd-child-", tap: "forkd-tap0", program: "firecracker", addr: "10.42.0.1/24", id: "iforkd", launcher: "forkd",
			args: func(t *testing.T) []string { return []string{"--api-sock", socket(t, "iforkd")} }},
		"a versioned binary with an id": {ns: "ns-", tap: "tap0", program: "firecracker-v1.12.1-x86_64", addr: "169.254.0.22/30", id: "sbxjail", launcher: "firecracker",
			args: func(t *testing.T) []string {
				return []string{"--id", "sbxjail", "--api-sock", filepath.Join(shortDir(t), "jail.socket")}
			}},
		"the same in another's namespace": {ns: "jail-", tap: "tap0", program: "firecracker-v1.12.1-x86_64", addr: "172.16.0.1/30", id: "sbxjail3", launcher: "firecracker",
			args: func(t *testing.T) []string {
				return []string{"--id", "sbxjail3", "--api-sock", filepath.Join(shortDir(t), "jail.socket")}
			}},
		"kata": {ns: "cni-", tap: "tap0_kata", program: "cloud-hypervisor", id: "kata1", launcher: "kata",
			args: func(t *testing.T) []string {
				return []string{"--api-socket", shortDir(t) + "/run/vc/vm/kata1/clh-api.sock"}
			}},
		"QEMU by hand": {ns: "q-", tap: "tap3", program: "qemu-system-x86_64", addr: "10.3.0.1/24", id: "myguest", launcher: "qemu",
			args: func(*testing.T) []string { return []string{"-name", "guest=myguest,debug-threads=on", "-m", "1G"} }},
		"Cloud Hypervisor": {ns: "ns-", tap: "tap0", program: "cloud-hypervisor", addr: "169.254.0.22/30", id: "chv1", launcher: "cloud-hypervisor",
			args: func(t *testing.T) []string { return []string{"--api-socket", filepath.Join(shortDir(t), "chv1.sock")} }},
		"nobody's that a rule knows": {ns: "x-", tap: "weird", program: "myvmm", addr: "10.9.0.1/24",
			args: func(*testing.T) []string { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watching{&host{t: t, agent: w.agent, client: w.client}}
			ns := namespace(t, c.ns)
			nettest.Tap(t, ns, c.tap)
			if c.addr != "" {
				at := netip.MustParsePrefix(c.addr)
				addAddr(t, ns, c.tap, at.Addr(), at.Bits())
			}
			idle := w.untilTap(ns, c.tap, "there", func(s path.Slot) bool { return s.Device.Exists == path.Yes && s.Device.Holders != nil })
			if idle.Diagnosis.State != path.Idle {
				t.Errorf("nobody holds it, and it is %s", idle.Diagnosis.State)
			}
			vmm := play(t, standIn{program: c.program, args: c.args(t), ns: ns, taps: []string{c.tap}})
			if c.id == "" {
				s := w.untilTap(ns, c.tap, "unidentified", func(s path.Slot) bool { return s.Diagnosis.State == path.Unidentified && len(s.Device.Holders) == 1 })
				if s.Unidentified == nil || s.Unidentified.PID != vmm.pid() || s.Unidentified.Command != c.program || len(s.Diagnosis.Hops) > 0 {
					t.Errorf("unidentified %+v, %+v", s.Unidentified, s.Diagnosis)
				}
				w.carrierSeries(s)
				return
			}
			s := w.looked(w.sandbox(ns, c.tap, c.id, vmm))
			if s.Sandbox.Source != c.launcher || !s.Sandbox.Foreign {
				t.Errorf("launched by %q, foreign %t", s.Sandbox.Source, s.Sandbox.Foreign)
			}
			if of := wrong(s); len(of) > 0 {
				t.Errorf("wrong: %q", of)
			}
			nettest.Eventually(t, "one place", func() bool { return len(w.places(ns)) == 1 })
			w.carrierSeries(s)
		})
	}
}

// A tap in the host's namespace, with an address or on a bridge.
func TestTapsOfTheHost(t *testing.T) {
	t.Parallel()
	w := watch(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: nettest.RandomName("br")}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	for _, c := range []struct {
		program, tap, id string
		args             []string
		bridged          bool
	}{
		{"firecracker", nettest.RandomName("fc-1-"), "ihost1", []string{"--id", "ihost1"}, false},
		{"qemu-system-x86_64", nettest.RandomName("vnet"), "ihost2", []string{"-name", "guest=ihost2"}, true},
	} {
		vmm := play(t, standIn{program: c.program, args: c.args, taps: []string{c.tap}})
		l, err := netlink.LinkByName(c.tap)
		if err != nil {
			t.Fatal(err)
		}
		if c.bridged {
			err = netlink.LinkSetMaster(l, bridge)
		} else {
			addAddr(t, "", c.tap, netip.AddrFrom4([4]byte{198, 19, byte(rand.N(256)), 1}), 30)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		s := w.looked(w.sandbox("host", c.tap, c.id, vmm))
		if of := wrong(s); len(of) > 0 {
			t.Errorf("%s: wrong: %q", c.tap, of)
		}
		if want := map[bool]string{true: bridge.Name}[c.bridged]; s.Device.Bridge != want || !s.Host {
			t.Errorf("%s: on bridge %q, in the host's %t", c.tap, s.Device.Bridge, s.Host)
		}
		w.carrierSeries(s)
	}
}

// Two VMMs in one namespace, each with a tap of its own, are two sandboxes.
func TestTwoVMMsInOneNamespace(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	nettest.Tap(t, ns, "tap1")
	one := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "itwo0")}, ns: ns, taps: []string{"tap0"}})
	two := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "itwo1")}, ns: ns, taps: []string{"tap1"}})
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
	elder := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "ielder")}, ns: ns, taps: []string{"tap0"}})
	w.sandbox(ns, "tap0", "ielder", elder)
	younger := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "iyounger")}, ns: ns})
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
			ns := e2bSlot(t)
			vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "ifork")}, ns: ns, taps: []string{"tap0"}})
			w.sandbox(ns, "tap0", "ifork", vmm)
			child := w.forks(vmm, c.fork...)
			if c.seen {
				w.agent.discover.Rescan()
				w.agent.holding.ask(w.agent.slots.Taps()...)
				s := w.untilTap(ns, "tap0", "two holders", func(s path.Slot) bool { return len(s.Device.Holders) == 2 })
				if s.Sandbox == nil || s.Sandbox.VMMPID != vmm.pid() || len(w.places(ns)) != 1 {
					t.Errorf("%d places, the VMM is %+v, not %d", len(w.places(ns)), s.Sandbox, vmm.pid())
				}
			}
			vmm.kill()
			s := w.untilTap(ns, "tap0", "the VMM has exited", func(s path.Slot) bool {
				return finds(s, "vmm-exited") && strings.Contains(s.Diagnosis.Findings[0].Cause, strconv.Itoa(child))
			})
			if s.Sandbox.VMMPID != vmm.pid() || s.Sandbox.VMMAlive != path.No || s.Device.Carrier != path.Yes || s.Sandbox.ID != "ifork" {
				t.Errorf("%+v, carrier %s", s.Sandbox, s.Device.Carrier)
			}
			if e := strings.Join(s.Diagnosis.Findings[0].Evidence, "\n"); !strings.Contains(e, "was killed by SIGKILL from sh") {
				t.Errorf("evidence:\n%s", e)
			}
			w.agent.discover.Rescan()
			w.agent.holding.ask(w.agent.slots.Taps()...)
			w.agent.slots.Tick(1, time.Now())
			w.untilTap(ns, "tap0", "still so", func(s path.Slot) bool { return finds(s, "vmm-exited") && s.Sandbox.ID == "ifork" })
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
	vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "ilost")}, ns: ns, taps: []string{"tap0"}})
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
	vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "imisplaced")}, ns: lost, taps: []string{"tap0"}})
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
	vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "irenamed")}, ns: ns, taps: []string{"tap0"}})
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
		play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, sandbox)}, ns: ns})
		w.agent.discover.Rescan()
		s := w.untilTap(ns, "tap0", "the wrong kind", func(s path.Slot) bool { return id(s) == sandbox && named(s, "tap-wrong-kind", "not a tap") })
		if s.Device.Kind != kind || len(s.Device.Holders) > 0 {
			t.Errorf("a %s is %q, held by %+v", kind, s.Device.Kind, s.Device.Holders)
		}
	}
}

// A namespace that loses its name goes by that name still, and one that never had any
// by its number.
func TestNamespaceThatLosesItsName(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "inameless")}, ns: ns, taps: []string{"tap0"}})
	before := w.sandbox(ns, "tap0", "inameless", vmm)
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the name lost", func() bool {
		e, ok := w.agent.discover.Get(before.Cookie)
		return ok && e.Name == ""
	})
	s := w.looked(w.sandbox(ns, "tap0", "inameless", vmm))
	if s.Cookie != before.Cookie || len(wrong(s)) > 0 {
		t.Errorf("%+v, wrong: %q", s.Sandbox, wrong(s))
	}
	w.carrierSeries(s)
}

// What strangers write reaches nobody's terminal: an id of unsafe characters is none, a
// stranger without a tap is nobody, and two of one id are told apart.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns, evil := e2bSlot(t), "fc-\x1b[31mevil\u202e\n-r4nd.sock"
	nobody := play(t, standIn{program: "firecracker", args: []string{"--api-sock", filepath.Join("/nowhere", evil)}, ns: ns, uid: 65534, mute: true})
	w.agent.discover.Rescan()
	vmm := play(t, standIn{program: "fc\x1b[31m\u202ex", args: []string{"--socket", evil}, ns: ns, taps: []string{"tap0"}})
	s := w.untilTap(ns, "tap0", "held by a stranger", func(s path.Slot) bool { return s.Diagnosis.State == path.Unidentified && len(s.Device.Holders) == 1 })
	if s.Unidentified.PID != vmm.pid() || len(w.places(ns)) != 1 {
		t.Errorf("%d places, held by %+v", len(w.places(ns)), s.Unidentified)
	}
	for _, text := range []string{s.Unidentified.Command, s.Device.Holders[0].Command, grep(w.metrics(), ns)} {
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%q is raw", text)
		}
	}
	if slices.ContainsFunc(w.agent.Slots(), func(s path.Slot) bool { return s.Sandbox != nil && s.Sandbox.VMMPID == nobody.pid() }) {
		t.Error("a process of another user that holds nothing is a VMM")
	}

	sandbox := nettest.RandomName("itwice")
	for range 2 {
		at := e2bSlot(t)
		play(t, standIn{program: "firecracker", args: []string{"--id", sandbox}, ns: at, taps: []string{"tap0"}})
		w.untilTap(at, "tap0", "its sandbox", func(s path.Slot) bool { return strings.HasPrefix(id(s), sandbox) })
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.client.BaseURL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Type"), "protobuf") {
		t.Errorf("a scrape of protobuf: %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
}

// Where no proxy was named or ever seen, nothing is broken at it.
func TestProxyThatNobodyNamed(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "inoproxy")}, ns: ns, taps: []string{"tap0"}})
	w.looked(w.sandbox(ns, "tap0", "inoproxy", vmm))
	s := w.untilTap(ns, "tap0", "the host's listeners read", func(s path.Slot) bool { return s.Proxy.Listening != path.Unknown })
	if s.Proxy.Listening == path.Yes { // somebody's does, on this machine
		return
	}
	for _, h := range s.Diagnosis.Hops {
		if h.Hop == path.Proxy && (h.State != path.Undecided || !strings.Contains(h.Detail, "--proxy")) {
			t.Errorf("%+v", h)
		}
	}
	if finds(s, "proxy-not-listening") || finds(s, "proxy-wrong-address") {
		t.Errorf("found %+v", s.Diagnosis.Findings)
	}
}

// Another network than E2B's default, with a relay in the namespace: the kernel says
// where it is.
func TestAddressesFromTheKernel(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	near := netip.AddrFrom4([4]byte{198, 19, byte(rand.N(256)), byte(rand.N(128) * 2)})
	far := netip.AddrPortFrom(near.Next(), 49983)
	addAddr(t, "", nettest.Veth(t, ns), near, 31)
	addAddr(t, ns, "eth0", far.Addr(), 31)
	nettest.In(t, ns, func() error { return netlink.RouteAdd(&netlink.Route{Gw: near.AsSlice()}) })
	listenIn(t, ns, far)
	vmm := play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, "icidr")}, ns: ns, taps: []string{"tap0"}})
	s := w.looked(w.sandbox(ns, "tap0", "icidr", vmm))
	if of := wrong(s); len(of) > 0 {
		t.Errorf("wrong: %q", of)
	}
	s = w.untilTap(ns, "tap0", "its relay", func(s path.Slot) bool { return s.Relay.Listening == path.Yes })
	if s.Relay.Addr != far.String() || s.Assumed || len(wrong(s)) > 0 {
		t.Errorf("relay at %s, assumed %t, wrong: %q", s.Relay.Addr, s.Assumed, wrong(s))
	}
}
