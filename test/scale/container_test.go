package scale

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/proctest"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// vmmMark is set in the environment of a copy of this test's binary that stands in for
// a Firecracker: it holds what it was given until its input ends.
const vmmMark = "TAPWATCH_SCALE_VMM"

func beVMM() int {
	_, _ = io.Copy(io.Discard, os.Stdin) // until the end
	return 0
}

// firecracker is a copy of this test's binary of that name.
func firecracker(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // for other users
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "firecracker")
	if err := os.WriteFile(bin, self, 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// vmmIn starts a Firecracker in a slot's namespace that holds its tap, with E2B's
// command line for a sandbox.
func vmmIn(t *testing.T, bin string, slot network.Slot, id string) *exec.Cmd {
	t.Helper()
	tap, err := openTap(slot)
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	cmd := exec.Command(bin, "--api-sock", "/tmp/fc-"+id+"-x.sock")
	cmd.Env, cmd.ExtraFiles = []string{vmmMark + "=1"}, []*os.File{tap}
	nettest.Start(t, slot.Netns(), cmd)
	return cmd
}

// watchCmd is watch of a command that becomes the agent.
func watchCmd(t *testing.T, dir registry.Dir, cmd *exec.Cmd) *watcher {
	t.Helper()
	w := &watcher{t: t, began: time.Now(), dir: dir, p: proctest.StartCmd(t, cmd)}
	w.url = w.p.WaitFor(t, 0, `^metrics: (\S+)/metrics`).Groups[1]
	return w
}

func agentArgs(bin string, dir registry.Dir) []string {
	// Not a hook on each device: others may have thousands on this machine.
	return []string{bin, "agent", "--attach-mode", "tracepoint", "--listen", "127.0.0.1:0", "--run-dir", string(dir)}
}

// paths returns what the agent says of every tap of ours, by the namespace's name.
func (w *watcher) paths() map[string]path.Slot {
	w.t.Helper()
	body, _, _ := w.get("/api/v1/paths", false)
	var all struct{ Paths []path.Slot }
	if err := json.Unmarshal(body, &all); err != nil {
		w.t.Fatal(err)
	}
	by := map[string]path.Slot{}
	for _, s := range all.Paths {
		by[s.Netns] = s
	}
	return by
}

// untilPath waits until the agent says something of a namespace.
func (w *watcher) untilPath(ns, what string, ok func(path.Slot) bool) path.Slot {
	w.t.Helper()
	var last path.Slot
	for end := time.Now().Add(proctest.Patience); ; time.Sleep(20 * time.Millisecond) {
		if last = w.paths()[ns]; last.Netns == ns && ok(last) {
			return last
		}
		if time.Now().After(end) {
			text, _ := json.MarshalIndent(last, "", " ") // plain values
			w.t.Fatalf("%s: never %s: %s", ns, what, text)
		}
	}
}

func (w *watcher) capability(name string) float64 {
	w.t.Helper()
	return w.sum(`tapwatch_capability{name="` + name + `"}`)
}

// heldBySandbox says whether somebody holds a tap, and its sandbox is known.
func heldBySandbox(s path.Slot) bool { return len(s.Device.Holders) > 0 && s.Sandbox != nil }

// head is what the page says above all sandboxes: the first message of its stream.
func (w *watcher) head() (head struct{ Lacks []string }) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), proctest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/v1/live", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			w.t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var first struct{ Head *struct{ Lacks []string } }
			if err := json.Unmarshal([]byte(data), &first); err != nil || first.Head == nil {
				w.t.Fatalf("%v in %.200s", err, data)
			}
			return *first.Head
		}
	}
}

// mustLack checks that the agent says loudly what it lacks.
func (w *watcher) mustLack(name string) {
	w.t.Helper()
	if have := w.capability(name); have != 0 {
		w.t.Errorf("capability %s is %g, want 0", name, have)
	}
	if head := w.head(); !slices.ContainsFunc(head.Lacks, func(l string) bool { return strings.HasPrefix(l, name) }) {
		w.t.Errorf("the page's head does not name %s: %+v", name, head)
	}
	if !strings.Contains(w.p.Output(), "missing="+name) {
		w.t.Errorf("the log does not name %s", name)
	}
}

// mustBeHarmless checks that nothing is claimed to be wrong with a VMM that nobody can see.
func mustBeHarmless(t *testing.T, s path.Slot) {
	t.Helper()
	for _, f := range s.Diagnosis.Findings {
		if f.Severity == path.Critical || strings.HasPrefix(f.Code, "vmm-") || f.Code == "orphaned" {
			t.Errorf("%s: false finding %s: %s", s.Netns, f.Code, f.Cause)
		}
	}
	if b := s.Sandbox; b != nil && (b.VMMPID != 0 || b.VMMAlive != path.Unknown || b.VMMExit != nil || b.Orphan != nil) {
		t.Errorf("%s: of a VMM that cannot be seen: pid %d, alive %v, exit %+v, orphan %+v", s.Netns, b.VMMPID, b.VMMAlive, b.VMMExit, b.Orphan)
	}
}

// TestNestedPIDNamespace runs the built agent in a PID namespace of its own, with its
// own /proc, and with the host's. VMMs are outside and inside, and records name
// processes by numbers that others have inside.
func TestNestedPIDNamespace(t *testing.T) {
	bin, fc := build(t), firecracker(t)
	for _, c := range []struct{ name, proc string }{
		{"own proc", "mount -t proc proc /proc && "},
		{"host's proc", ""},
	} {
		t.Run(c.name, func(t *testing.T) { nested(t, bin, fc, c.proc) })
	}
}

func nested(t *testing.T, bin, fc, mountProc string) {
	f := makeFleet(t, 5, 2)
	recorded, colliding, outside, inside := network.Slot{Index: 1}, network.Slot{Index: 2}, network.Slot{Index: 3}, network.Slot{Index: 4}
	idle := network.Slot{Index: 5}
	collide(t, f, colliding)
	id := nettest.RandomName("i")
	vmmIn(t, fc, outside, id+"out")

	tap, err := openTap(inside)
	if err != nil {
		t.Fatal(err)
	}
	// The VMM is process 2 of the namespace, and the shell becomes the agent.
	script := `{ ` + vmmMark + `=1 nsenter --net=/run/netns/` + inside.Netns() + ` "$0" --api-sock /tmp/fc-` + id + `in-x.sock <&4 4<&- & } && exec 3<&- 4<&- &&
		mount --make-rprivate / && ` + mountProc + `exec "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, fc}, agentArgs(bin, f.dir)...)...)
	r, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{tap, r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	t.Cleanup(func() { end.Close() })
	w := watchCmd(t, f.dir, cmd)
	tap.Close()
	r.Close()
	w.mustLack("host_pids")

	host := vmmPID(t, id+"in")
	want := 2
	if mountProc == "" {
		want = host
	}
	s := w.untilPath(inside.Netns(), "held by its VMM", heldBySandbox)
	if s.Sandbox.ID != id+"in" || len(s.Device.Holders) != 1 || s.Device.Holders[0].PID != want || s.Sandbox.VMMPID != want {
		t.Errorf("%+v with VMM %d, held by %+v: want pid %d", s.Sandbox.ID, s.Sandbox.VMMPID, s.Device.Holders, want)
	}
	for _, slot := range []network.Slot{recorded, colliding, outside} {
		w.untilPath(slot.Netns(), "with carrier", func(s path.Slot) bool {
			return s.Device.Carrier == path.Yes && (slot == outside || s.Sandbox != nil)
		})
	}
	check := func() {
		t.Helper()
		all := w.paths()
		for _, slot := range []network.Slot{recorded, colliding} {
			s := all[slot.Netns()]
			if s.Sandbox == nil {
				t.Fatalf("%s has no sandbox", slot.Netns())
			}
			if s.Device.Holders != nil || s.Device.Carrier != path.Yes {
				t.Errorf("%s is held by %+v, carrier %v", slot.Netns(), s.Device.Holders, s.Device.Carrier)
			}
			if mountProc != "" || slot == colliding {
				mustBeHarmless(t, s)
			}
		}
		if s := all[outside.Netns()]; s.Device.Carrier != path.Yes || s.Device.Holders != nil || mountProc != "" && s.Diagnosis.State != path.Undecided {
			t.Errorf("held by somebody outside: %+v, carrier %v, %s", s.Device.Holders, s.Device.Carrier, s.Diagnosis.State)
		}
		if s := all[idle.Netns()]; s.Diagnosis.State != path.Idle || s.Device.Carrier != path.No {
			t.Errorf("idle: %s, carrier %v", s.Diagnosis.State, s.Device.Carrier)
		}
	}
	check()
	out, err := exec.Command(bin, "doctor", "--agent-url", w.url).CombinedOutput()
	if code := cmdExit(err); mountProc != "" && (code != 2 || !strings.Contains(string(out), "who holds it is not known")) {
		t.Errorf("doctor ends with %d\n%s", code, out)
	}
	// The end of process 2 is that of the VMM inside, and of no other.
	if err := unix.Kill(host, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	says := fmt.Sprintf("firecracker (pid %d) was killed by SIGKILL from ", want)
	if mountProc != "" { // the test's process has no pid inside
		comm, err := os.ReadFile("/proc/self/comm")
		if err != nil {
			t.Fatal(err)
		}
		says += strings.TrimSpace(string(comm)) + ", which launched it"
	}
	w.until("that it "+says, func() bool {
		body, _, _ := w.get("/api/v1/sandboxes/"+id+"in/history", false)
		return strings.Contains(string(body), says)
	})
	time.Sleep(3 * time.Second) // as long as anything is looked at again
	check()
}

// collide has the record of a slot name processes by numbers that are others inside.
func collide(t *testing.T, f *fleet, slot network.Slot) {
	t.Helper()
	records, err := f.dir.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if r.Index == slot.Index {
			r.Owner, r.Sandbox.VMMProcess = proc.Process{PID: 1, Start: 1}, proc.Process{PID: 2, Start: 1}
			if err := f.dir.Put(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// vmmPID finds the process of a sandbox by its command line.
func vmmPID(t *testing.T, id string) (pid int) {
	t.Helper()
	nettest.Eventually(t, "the VMM of "+id, func() bool {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range lines {
			line, err := os.ReadFile(file)
			if err == nil && strings.Contains(string(line), "firecracker\x00--api-sock\x00/tmp/fc-"+id+"-") {
				_, err := fmt.Sscanf(file, "/proc/%d/", &pid)
				return err == nil
			}
		}
		return false
	})
	return pid
}

// TestPrivateMountNamespace runs the built agent where the host's /run/netns is not to
// be seen: taps are found through the processes in their namespaces.
func TestPrivateMountNamespace(t *testing.T) {
	bin, fc := build(t), firecracker(t)
	f := makeFleet(t, 2, 0)
	slot := network.Slot{Index: 1}
	id := nettest.RandomName("i")
	vmm := vmmIn(t, fc, slot, id)
	w := watchCmd(t, f.dir, inOtherMounts(netns.Dir, agentArgs(bin, f.dir)...))
	w.mustLack("host_mounts")
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", vmm.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	s := w.untilPath(ns, "held by its VMM", heldBySandbox)
	if s.Sandbox.ID != id || s.Device.Carrier != path.Yes || s.Device.Holders[0].PID != vmm.Process.Pid {
		t.Errorf("%+v, carrier %v, held by %+v", s.Sandbox, s.Device.Carrier, s.Device.Holders)
	}
	if have := w.capability("host_pids"); have != 1 {
		t.Errorf("host_pids is %g", have)
	}
}

// TestCgroupNamespace runs the built agent in a cgroup namespace: nothing but the paths
// of cgroups is another there.
func TestCgroupNamespace(t *testing.T) {
	bin, fc := build(t), firecracker(t)
	f := makeFleet(t, 1, 0)
	slot := network.Slot{Index: 1}
	id := nettest.RandomName("i")
	vmm := vmmIn(t, fc, slot, id)
	w := watchCmd(t, f.dir, exec.Command("unshare", append([]string{"--cgroup"}, agentArgs(bin, f.dir)...)...))
	s := w.untilPath(slot.Netns(), "held by its VMM", heldBySandbox)
	if s.Sandbox.ID != id || s.Device.Carrier != path.Yes || s.Device.Holders[0].PID != vmm.Process.Pid {
		t.Errorf("%+v, carrier %v, held by %+v", s.Sandbox, s.Device.Carrier, s.Device.Holders)
	}
	if out, err := exec.Command("unshare", "--cgroup", "cat", "/proc/2/cgroup").Output(); err != nil || strings.Contains(string(out), ":/..") {
		w.mustLack("host_cgroups") // else the test is in the root cgroup itself
	}
}

// cmdExit is the exit status of a command that ran.
func cmdExit(err error) int {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}
