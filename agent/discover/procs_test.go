package discover

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/identity"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
)

func (p *procs) mustScan(t testing.TB, now time.Time, full bool) {
	t.Helper()
	if err := p.scan(now, full); err != nil {
		t.Fatal(err)
	}
}

func TestOldProcessesAreNotReadAgain(t *testing.T) {
	p := newProcs(newWho(mustRules(t)))
	start := time.Now()
	p.mustScan(t, start, false)
	if p.seen[os.Getpid()].inode == 0 || p.read != len(p.seen) {
		t.Fatalf("%d read of %d", p.read, len(p.seen))
	}
	later := start.Add(young)
	p.mustScan(t, later, false)
	fresh := 0
	for _, s := range p.seen {
		if s.first.Equal(later) {
			fresh++
		}
	}
	if want := fresh + len(p.found); p.read != want {
		t.Errorf("%d processes read, %d are new or VMMs", p.read, want)
	}
	p.mustScan(t, later, true)
	if p.read != len(p.seen) {
		t.Errorf("a full scan read %d of %d", p.read, len(p.seen))
	}
}

func TestProcessThatBecomesAVMM(t *testing.T) {
	p := newProcs(newWho(mustRules(t)))
	stdin, running, stop := command(t, "bash", "-c", "read && exec "+program(t)+" --api-sock /tmp/fc-late-r4nd.sock")
	find := func() (found []*VMM) {
		p.mustScan(t, time.Now(), false)
		for _, v := range p.found {
			if v.Identity.SandboxID == "late" {
				found = append(found, v)
			}
		}
		return found
	}
	if found := find(); len(found) != 0 {
		t.Fatalf("a shell was taken for %+v", found)
	}
	if _, err := io.WriteString(stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	running()
	home, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	found := find()
	if len(found) != 1 || found[0].Netns != home || found[0].Inode == 0 || aliveOf(found[0].Process) != path.Yes {
		t.Fatalf("found %+v", found)
	}
	if again := find(); len(again) != 1 || again[0] != found[0] {
		t.Errorf("found anew, with nothing changed: %+v", again)
	}
	stop()
	if found := find(); len(found) != 0 {
		t.Errorf("found %+v after its end", found)
	}
}

func TestAlive(t *testing.T) {
	self, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got := aliveOf(self); got != path.Yes {
		t.Errorf("this process: %s", got)
	}
	if got := aliveOf(proc.Process{PID: self.PID, Start: self.Start + 1}); got != path.No {
		t.Errorf("an earlier process of this pid: %s", got)
	}
	if got := aliveOf(proc.Process{}); got != path.Unknown {
		t.Errorf("no process: %s", got)
	}
	child := exec.Command("true")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := proc.ProcessOf(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	// It has ended, and is a zombie until Wait.
	if err := unix.Waitid(unix.P_PID, p.PID, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if got := aliveOf(p); got != path.No {
		t.Errorf("a zombie: %s", got)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := aliveOf(p); got != path.No {
		t.Errorf("a process that has gone: %s", got)
	}
}

// BenchmarkScanProcs is what one look at all processes costs; divide by procs. The
// first look asks the rules about each of them.
func BenchmarkScanProcs(b *testing.B) {
	rules := mustRules(b)
	for name, full := range map[string]bool{"settled": false, "full": true} {
		b.Run(name, func(b *testing.B) {
			p := newProcs(newWho(rules))
			p.mustScan(b, time.Now().Add(-young), true)
			for b.Loop() {
				p.mustScan(b, time.Now(), full)
			}
			b.ReportMetric(float64(len(p.seen)), "procs")
		})
	}
	b.Run("first", func(b *testing.B) {
		seen := 0
		for b.Loop() {
			p := newProcs(newWho(rules))
			p.mustScan(b, time.Now(), true)
			seen = len(p.seen)
		}
		b.ReportMetric(float64(seen), "procs")
	})
}

// A VMM that has ended and is not waited for stays its sandbox's.
func TestZombieVMM(t *testing.T) {
	p := newProcs(newWho(mustRules(t)))
	stdin, running, stop := command(t, program(t), "--api-sock", "/tmp/fc-undead-r4nd.sock")
	running()
	now := time.Now()
	find := func(after time.Duration) *VMM {
		p.mustScan(t, now.Add(after), false)
		for _, v := range p.found {
			if v.Identity.SandboxID == "undead" {
				return v
			}
		}
		return nil
	}
	v := find(0)
	if v == nil || v.Zombie || v.Identity.APISocket != "/tmp/fc-undead-r4nd.sock" {
		t.Fatalf("found %+v", v)
	}
	stdin.(io.Closer).Close()
	nettest.Eventually(t, "a zombie", func() bool { return v.Process.Zombie() })
	if v := find(0); v == nil || v.Zombie {
		t.Errorf("for an instant: %+v", v)
	}
	if v := find(unreaped); v == nil || !v.Zombie {
		t.Errorf("for long: %+v", v)
	}
	stop()
	if v := find(2 * unreaped); v != nil {
		t.Errorf("waited for: %+v", v)
	}
}

// An old process is judged again where what decides is another: its namespace's name,
// or the rules.
func TestOldProcessesAreJudgedAgain(t *testing.T) {
	pid, _ := stranger(t, 0) // a cat
	inode := inodeOfLink(nsPath(pid))
	cats := func(name string) *identity.Set {
		return mustRules(t, identity.Rule{
			Name: name, Match: identity.Match{Program: "^cat$", Netns: "^fleet$"}, Set: identity.Result{SandboxID: name},
		})
	}
	w := newWho(cats("one"))
	p := newProcs(w)
	now := time.Now()
	find := func(full bool) string {
		now = now.Add(young)
		p.mustScan(t, now, full)
		if v := p.found[pid]; v != nil {
			return v.Identity.SandboxID
		}
		return ""
	}
	named := func(name string) { w.names.Store(&map[uint64]string{inode: name}) }
	for _, step := range []struct {
		what string
		do   func()
		full bool
		want string
	}{
		{"new, in a namespace without a name", func() {}, false, ""},
		{"its namespace has a name", func() { named("fleet") }, true, "one"},
		{"nothing has changed", func() {}, true, "one"},
		{"other rules", func() { w.use(cats("two")) }, false, "two"},
		{"rules that do not know it", func() { w.use(mustRules(t)) }, false, ""},
		{"rules that do", func() { w.use(cats("three")) }, true, "three"},
		{"its namespace has another name", func() { named("other") }, false, ""},
	} {
		step.do()
		if got := find(step.full); got != step.want {
			t.Errorf("%s: found %q, want %q", step.what, got, step.want)
		}
	}
	p.changed = false
	if find(true); p.changed {
		t.Error("a change, and there was none")
	}
}
