package discover

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapwatch/agent/identity"
	"tapwatch/internal/clean"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
)

// vmm starts a copy of this test's program in a namespace ("" for our own) and returns
// once it runs. It ends with the test, or by stop.
func vmm(t *testing.T, ns string, cmd *exec.Cmd) (p proc.Process, stop func()) {
	t.Helper()
	nettest.NeedRoot(t)
	c := nettest.Start(t, ns, cmd)
	c.Hears(t, "running")
	p, err := proc.ProcessOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p, c.Stop
}

// programAs is a copy of this test's program of that name, for every user to run.
func programAs(t *testing.T, name string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(program(t)), name)
	if name != "firecracker" {
		if err := os.Rename(filepath.Join(filepath.Dir(file), "firecracker"), file); err != nil {
			t.Fatal(err)
		}
	}
	for dir := filepath.Dir(file); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

// nobody is the user of that name everywhere.
const nobody = 65534

func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}

// hostile is the socket of somebody who wants to be read on root's terminal.
const hostile = "/tmp/fc-\x1b[31mgone\n\u202ecritical-x.sock"

// foundIn returns what a scan of all processes makes of one.
func foundIn(t *testing.T, of proc.Process, names map[uint64]string) *VMM {
	t.Helper()
	w := newWho(mustRules(t))
	w.names.Store(&names)
	p := newProcs(w)
	p.mustScan(t, time.Now(), true)
	if v := p.found[of.PID]; v != nil && v.Process == of {
		return v
	}
	return nil
}

func TestProcessOfAnotherUserIsNoVMM(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// By name alone: anybody can call a program of his anything.
	cmd := exec.Command(programAs(t, "harmless", 0o755))
	cmd.Args = []string{"firecracker", "--api-sock", hostile}
	p, _ := vmm(t, "", asNobody(cmd))
	if v := foundIn(t, p, nil); v != nil {
		t.Errorf("%s as firecracker was taken for %+v", exe, v)
	}
	p, _ = vmm(t, "", asNobody(exec.Command(programAs(t, "firecracker", 0o755), "--api-sock", hostile)))
	if v := foundIn(t, p, nil); v != nil {
		t.Errorf("a program of that name was taken for %+v", v)
	}
	// Only root could put it into a namespace with a name.
	ns := nettest.Netns(t)
	p, _ = vmm(t, ns, asNobody(exec.Command(programAs(t, "firecracker", 0o755), "--api-sock", hostile)))
	names := map[uint64]string{inodeOfLink(nsPath(p.PID)): ns}
	mustBeClean(t, foundIn(t, p, names))
	if v := foundIn(t, p, nil); v != nil {
		t.Errorf("in a namespace without a name it was taken for %+v", v)
	}
	p, _ = vmm(t, "", exec.Command(programAs(t, "firecracker", 0o755), "--api-sock", hostile))
	mustBeClean(t, foundIn(t, p, nil))
}

func mustBeClean(t *testing.T, v *VMM) {
	t.Helper()
	if v == nil {
		t.Error("a VMM was not found")
		return
	}
	id := v.Identity
	for _, s := range []string{id.SandboxID, id.Name, id.Template, id.Launcher, id.Slot, id.APISocket} {
		if clean.Text(s) != s {
			t.Errorf("raw: %q", s)
		}
	}
	if id.Role != identity.RoleVMM || !id.Unidentified() || id.APISocket != "" {
		t.Errorf("identified as %+v", id)
	}
}

// Who starts a setuid program chooses its arguments, its own name among them.
func TestSetuidProgramIsNoVMM(t *testing.T) {
	cmd := exec.Command(programAs(t, "harmless", 0o755|os.ModeSetuid))
	cmd.Args = []string{"firecracker", "--id", "forged"}
	p, _ := vmm(t, "", asNobody(cmd))
	if u, err := proc.UserOf(p.PID); err != nil || u != (proc.User{Real: nobody, Effective: 0}) {
		nettest.Unfit(t, "no setuid programs in "+os.TempDir())
	}
	if v := foundIn(t, p, nil); v != nil {
		t.Errorf("taken for %+v", v)
	}
}

func TestFirecrackerOfAnotherName(t *testing.T) {
	w := start(t, Config{})
	ns := nettest.Netns(t)
	w.named(ns, "found", noones)
	id := nettest.RandomName("jail")
	p, _ := vmm(t, ns, exec.Command(programAs(t, "firecracker-v1.12.1-x86_64", 0o755), "--id", id, "--api-sock", "/run/firecracker.socket"))
	w.Rescan()
	v := w.named(ns, "its VMM found", bound).VMMs[0]
	if v.Process != p || v.Parent != os.Getpid() || v.Identity.SandboxID != id || v.Identity.Launcher != "firecracker" || v.Identity.APISocket != "/run/firecracker.socket" {
		t.Errorf("%+v", v)
	}
	if v.Command != "firecracker-v1." { // 15 bytes
		t.Errorf("command %q", v.Command)
	}
}

func TestTwoVMMsInOneNamespace(t *testing.T) {
	w := start(t, Config{})
	ns := nettest.Netns(t)
	var want []proc.Process
	for _, id := range []string{"first", "second"} {
		p, _ := vmm(t, ns, exec.Command(program(t), "--id", id))
		want = append(want, p)
	}
	w.Rescan()
	e := w.named(ns, "two VMMs", func(e Entry) bool { return len(e.VMMs) == 2 })
	if got := []proc.Process{e.VMMs[0].Process, e.VMMs[1].Process}; !slices.Equal(got, want) && want[0].Start < want[1].Start {
		t.Errorf("%v, want the eldest first: %v", got, want)
	}
}

// A jailer calls pivot_root: what it made the root is in no link of /proc.
func TestJailedFirecracker(t *testing.T) {
	for _, tool := range []string{"unshare", "bash", "mount", "pivot_root"} {
		if _, err := exec.LookPath(tool); err != nil {
			nettest.Unfit(t, "no "+tool)
		}
	}
	jail := filepath.Join(t.TempDir(), "firecracker", "i7ja1l", "root")
	for _, dir := range []string{"old", "lib", "lib64", "usr"} {
		if err := os.MkdirAll(filepath.Join(jail, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(program(t), filepath.Join(jail, "firecracker")); err != nil {
		t.Fatal(err)
	}
	// The libraries are for a program that was built with the race detector.
	p, _ := vmm(t, "", exec.Command("unshare", "-m", "--", "bash", "-c",
		`mount --bind "$0" "$0" && cd "$0" && for d in lib lib64 usr; do [ ! -e /$d ] || mount --rbind /$d $d || exit; done &&
		pivot_root . old && cd / && exec /firecracker --api-sock /run/firecracker.socket`, jail))
	v := foundIn(t, p, nil)
	if v == nil || v.Identity.SandboxID != "i7ja1l" || v.Identity.Rule != "firecracker/jail" {
		t.Errorf("found %+v", v)
	}
}

func TestHolder(t *testing.T) {
	ns := create(t, "ns-9"+strconv.Itoa(100_000+rand.IntN(900_000)))
	w, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := netns.CookieOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t), "--config", "x")
	cmd.Args[0] = "firecracker of any name"
	p, stop := vmm(t, ns, cmd)
	inode := inodeOfLink(nsPath(p.PID))
	w.who.names.Store(&map[uint64]string{inode: ns})
	w.who.young = time.Hour
	find := func(device, kind string) *VMM {
		t.Helper()
		v, ok := w.Holder(p.PID, device, kind)
		if !ok || v.Process != p || v.Netns != cookie || v.Inode != inode || v.Parent != os.Getpid() || v.Zombie {
			t.Fatalf("%v: %+v", ok, v)
		}
		return v
	}
	v := find("tap0", "tap")
	if v.Identity.Launcher != "firecracker" || v.Identity.Role != identity.RoleVMM {
		t.Errorf("%+v", v.Identity)
	}
	if find("tap0", "tap") == v {
		t.Error("a young process was not read again: it may have become another program")
	}
	w.who.young = 0
	v = find("tap0", "tap")
	if find("tap0", "tap") != v {
		t.Error("an old process was read again")
	}
	if find("tap1", "tap") == v || find("tap0", "macvtap") == v {
		t.Error("it was taken for the holder of another tap")
	}
	w.Holders(map[proc.Process]bool{p: true})
	if find("tap0", "tap") != v {
		t.Error("forgotten, and it holds a tap")
	}
	w.Holders(nil)
	if find("tap0", "tap") == v {
		t.Error("not forgotten")
	}

	w.Use(mustRules(t, identity.Rule{
		Name: "mine", Match: identity.Match{Device: "^(tap0)$", Netns: "^" + ns + "$", Kind: "^tap$"},
		Set: identity.Result{SandboxID: "the ${device} of ${netns}"},
	}))
	if got := find("tap0", "tap").Identity; got.SandboxID != "the tap0 of "+ns || got.Rule != "mine" {
		t.Errorf("by the new rules: %+v", got)
	}
	if got := find("tap1", "tap").Identity; !got.Unidentified() {
		t.Errorf("of a tap that they do not ask for: %+v", got)
	}
	// What it is depends on its namespace's name.
	w.who.names.Store(&map[uint64]string{inode: "another"})
	if got := find("tap0", "tap").Identity; !got.Unidentified() {
		t.Errorf("in a namespace of another name: %+v", got)
	}
	stop()
	if v, ok := w.Holder(p.PID, "tap0", "tap"); ok && v.Process == p {
		t.Errorf("it has ended: %+v", v)
	}
}

func TestHolderThatIsAZombie(t *testing.T) {
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	nettest.Eventually(t, "a zombie", func() bool {
		p, err := proc.ProcessOf(child.Process.Pid)
		return err == nil && p.Zombie()
	})
	if v, ok := newWho(mustRules(t)).holder(child.Process.Pid, "tap0", "tap"); ok {
		t.Errorf("a zombie holds what %+v does", v)
	}
}

func TestOtherRulesInForce(t *testing.T) {
	w := start(t, Config{})
	fleet, plain := nettest.RandomName("twfleet-"), nettest.Netns(t)
	create(t, fleet)
	w.named(fleet, "found", noones)
	p, _ := vmm(t, plain, exec.Command(program(t), "--id", "known"))
	// A cat is a VMM if the rules say so, where they say so.
	cats := map[string]int{}
	for _, ns := range []string{fleet, plain} {
		cmd := exec.Command("cat")
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := netns.Do(ns, cmd.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		cats[ns] = cmd.Process.Pid
	}
	w.Rescan()
	before := w.named(plain, "its VMM", bound)

	w.Use(mustRules(t,
		identity.Rule{Name: "fleet/cat", Match: identity.Match{Program: "^cat$", Netns: "^twfleet-"}, Set: identity.Result{SandboxID: "cat of ${netns}"}},
		identity.Rule{Name: "fleet", Match: identity.Match{Netns: "^twfleet-"}, Set: identity.Result{Role: identity.RoleSlot, Launcher: "fleet"}},
		identity.Rule{Name: "team", Match: identity.Match{Sandbox: "^known$"}, Set: identity.Result{Team: "red"}},
	))
	e := w.named(fleet, "a slot with a VMM", func(e Entry) bool { return e.Slot != nil && len(e.VMMs) == 1 })
	if v := e.VMMs[0]; e.Slot.Launcher != "fleet" || v.Process.PID != cats[fleet] || !strings.HasPrefix(v.Identity.SandboxID, "cat of twfleet-") {
		t.Errorf("%+v, %+v", e.Slot, v)
	}
	e = w.named(plain, "the team of a VMM that was known", func(e Entry) bool { return len(e.VMMs) == 1 && e.VMMs[0].Identity.Team == "red" })
	if v := e.VMMs[0]; v.Process != p || v.Identity.SandboxID != "known" {
		t.Errorf("%+v", v)
	}
	w.Use(mustRules(t))
	w.named(fleet, "nobody's again", noones)
	e = w.named(plain, "of no team", func(e Entry) bool { return len(e.VMMs) == 1 && e.VMMs[0].Identity.Team == "" })
	if !e.VMMs[0].same(before.VMMs[0]) {
		t.Errorf("%+v, was %+v", e.VMMs[0], before.VMMs[0])
	}
}

// The names of namespaces that were made after the first scan count too.
func TestSlotOfALateNamespace(t *testing.T) {
	w := start(t, Config{})
	ns := create(t, "forkd-child-9"+strconv.Itoa(100_000+rand.IntN(900_000)))
	w.named(ns, "an idle slot", idle)
	vmm(t, ns, exec.Command(program(t), "--api-sock", "/tmp/x.sock"))
	w.Rescan()
	e := w.named(ns, "bound", bound)
	if v := e.VMMs[0]; e.Slot.Launcher != "forkd" || v.Identity.Launcher != "forkd" || v.Identity.SandboxID != ns {
		t.Errorf("%+v, %+v", e.Slot, v)
	}
}
