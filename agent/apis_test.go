package agent

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
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

// TestMain lets a copy of the test binary be a Firecracker, a process with E2B's
// command line that serves Firecracker's API, or a relay.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "firecracker":
		os.Exit(beFirecracker())
	case relayName:
		os.Exit(beRelay())
	default:
		os.Exit(m.Run())
	}
}

// beFirecracker answers each question by the file of that name beside the socket,
// and never where there is none. It ends with its input.
func beFirecracker() int {
	socket := os.Args[2]
	ln, err := net.Listen("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := strings.ReplaceAll(strings.Trim(r.URL.Path, "/"), "/", "-")
			b, err := os.ReadFile(filepath.Join(filepath.Dir(socket), "answer-"+name))
			if err != nil {
				<-r.Context().Done()
				return
			}
			_, _ = w.Write(b) // who asked may have gone
		})}
		_ = s.Serve(ln) // until the end
	}()
	fmt.Println("running")
	_, _ = os.Stdin.Read(make([]byte, 1))
	return 0
}

// foreign is an E2B slot with a Firecracker in it that we did not launch.
type foreign struct {
	*host
	ns, id, dir, socket string
	cmd                 *exec.Cmd
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
	f.cmd = exec.CommandContext(t.Context(), program(t, "firecracker"), "--api-sock", f.socket)
	if _, err := f.cmd.StdinPipe(); err != nil { // Wait closes it
		t.Fatal(err)
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	nettest.In(t, f.ns, f.cmd.Start)
	t.Cleanup(func() { _ = f.cmd.Process.Kill(); _ = f.cmd.Wait() })
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	return f
}

// program is a copy of the test binary under a name by which TestMain, and whoever
// looks at its processes, knows it.
func program(t *testing.T, name string) (path string) {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
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

// stateOf is that of a slot in trouble: a slow machine's sandbox may be past its
// boot grace before the test has seen it.
func stateOf(booting bool) path.State {
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
	if want := stateOf(s.Sandbox.Booting); s.Sandbox.ID != f.id || s.Sandbox.API.Socket != f.socket || s.Diagnosis.State != want {
		t.Errorf("%s, not %s: %+v", s.Diagnosis.State, want, s.Sandbox)
	}
	f.says(path.VMMRunning, `{"iface_id":"eth0","host_dev_name":"tap7","guest_mac":null}`)
	f.untilForeign("told another tap", func(s path.Slot) bool {
		return strings.Contains(hop(s, path.Tap), "was told to use tap7, but the slot's tap is tap0")
	})

	addAddr(t, f.ns, "tap0", netip.MustParseAddr(e2b.TapAddr), 30)
	f.says(path.VMMPaused, `{"iface_id":"eth0","host_dev_name":"tap0","guest_mac":"02:FC:00:00:00:05"}`)
	tap := nettest.AttachTap(t, f.ns, "tap0")
	defer tap.Close()
	f.untilForeign("paused", func(s path.Slot) bool { return strings.Contains(hop(s, path.Guest), "its vCPUs are paused") })
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
	if out, err := exec.CommandContext(t.Context(), "kill", "-KILL", strconv.Itoa(f.cmd.Process.Pid)).CombinedOutput(); err != nil {
		t.Fatalf("kill: %v: %s", err, out)
	}
	s := f.untilForeign("a zombie", func(s path.Slot) bool { return code(s) == "vmm-zombie" })
	if s.Sandbox.VMMAlive != path.No || s.Diagnosis.BrokenAt() != path.Tap {
		t.Errorf("%+v", s.Sandbox)
	}
	_ = f.cmd.Wait() // it was killed
	f.untilForeign("gone for good", func(s path.Slot) bool { return code(s) == "vmm-exited" })
}
