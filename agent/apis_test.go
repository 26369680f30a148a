package agent

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// foreign is an E2B slot with a Firecracker in it that we did not launch.
type foreign struct {
	*host
	ns, id, dir, socket string
	vmm                 *player
}

func startForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{host: start(t), ns: "ns-9" + strconv.Itoa(100_000+rand.IntN(900_000)), id: nettest.RandomName("i"), dir: t.TempDir()}
	f.socket = filepath.Join(f.dir, "fc-"+f.id+"-r4nd.sock")
	if err := netns.Create(f.ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Delete(f.ns) })
	nettest.Tap(t, f.ns, "tap0")
	f.vmm = play(t, standIn{program: "firecracker", args: []string{"--api-sock", f.socket}, ns: f.ns})
	return f
}

// says has the Firecracker answer so from now on.
func (f *foreign) says(state, interfaces string) {
	f.t.Helper()
	for name, text := range map[string]string{
		"answer-":          `{"id":"x","state":"` + state + `","vmm_version":"1.10.1","app_name":"Firecracker"}`,
		"answer-vm-config": `{"machine-config":{"vcpu_count":1},"drives":[],"network-interfaces":[` + interfaces + `]}`,
	} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

// untilForeign waits for the foreign slot's state.
func (f *foreign) untilForeign(what string, ok func(path.Slot) bool) path.Slot {
	f.t.Helper()
	var last path.Slot
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, s := range f.agent.Slots() {
			if s.Netns == f.ns {
				if last = s; ok(s) {
					return s
				}
			}
		}
	}
	f.t.Fatalf("never %s: %+v, sandbox %+v", what, last.Diagnosis, last.Sandbox)
	return last
}

// troubleOf is the state of a slot in trouble: a slow machine's sandbox may be past its
// boot grace before the test has seen it.
func troubleOf(booting bool) path.State {
	if booting {
		return path.Booting
	}
	return path.Broken
}

// hop returns what a slot's hop says.
func hop(s path.Slot, hop path.Hop) string {
	for _, h := range s.Diagnosis.Hops {
		if h.Hop == hop {
			return h.Detail
		}
	}
	return ""
}

// A Firecracker that nobody told us of is found, and says itself what is wrong.
func TestFirecrackerSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	f := startForeign(t)
	f.says(path.VMMRunning, "")
	s := f.untilForeign("without a NIC", func(s path.Slot) bool { return strings.Contains(hop(s, path.Tap), "never given a network interface") })
	if want := troubleOf(s.Sandbox.Booting); s.Sandbox.ID != f.id || s.Sandbox.API.Socket != f.socket || s.Diagnosis.State != want {
		t.Errorf("%s, not %s: %+v", s.Diagnosis.State, want, s.Sandbox)
	}
	f.says(path.VMMRunning, `{"iface_id":"eth0","host_dev_name":"tap7","guest_mac":null}`)
	f.untilForeign("told another tap", func(s path.Slot) bool {
		return strings.Contains(hop(s, path.Tap), "was told to use tap7, but the slot's tap is tap0")
	})

	addAddr(t, f.ns, "tap0", netip.MustParseAddr(e2b.TapAddr), 30)
	f.says(path.VMMPaused, `{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:FC:00:00:00:05"}`)
	f.vmm.open("tap0")
	f.untilForeign("paused", func(s path.Slot) bool {
		return strings.Contains(hop(s, path.Guest), "paused by its API; no request waits for it")
	})
	if err := os.Remove(f.socket); err != nil {
		t.Fatal(err)
	}
	f.untilForeign("nobody to be asked", func(s path.Slot) bool {
		return s.Sandbox.API != nil && s.Sandbox.API.Gone && s.Sandbox.API.Interfaces != nil && s.Sandbox.API.State == ""
	})
}

// One that has ended and is not waited for is still its sandbox's, in trouble.
func TestFirecrackerThatIsAZombie(t *testing.T) {
	t.Parallel()
	f := startForeign(t)
	f.says(path.VMMRunning, "")
	f.untilForeign("bound", func(s path.Slot) bool { return s.Sandbox != nil && s.Sandbox.ID == f.id })
	// Another than its launcher kills it, and its launcher does not wait for it.
	if out, err := exec.CommandContext(t.Context(), "kill", "-KILL", strconv.Itoa(f.vmm.Process.Pid)).CombinedOutput(); err != nil {
		t.Fatalf("kill: %v: %s", err, out)
	}
	s := f.untilForeign("a zombie", func(s path.Slot) bool { return code(s) == "vmm-zombie" })
	if s.Sandbox.VMMAlive != path.No || s.Diagnosis.BrokenAt() != path.Tap {
		t.Errorf("%+v", s.Sandbox)
	}
	_ = f.vmm.Wait() // it was killed
	f.untilForeign("gone for good", func(s path.Slot) bool { return code(s) == "vmm-exited" })
}
