package agent

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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

// playE2B starts the VMM of an E2B sandbox.
func playE2B(t *testing.T, ns, id string, taps ...string) *player {
	t.Helper()
	return play(t, standIn{program: "firecracker", args: []string{"--api-sock", socket(t, id)}, ns: ns, taps: taps})
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
