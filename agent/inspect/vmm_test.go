package inspect

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
)

// started is a process that is looked at.
func started(t *testing.T, name string, args ...string) proc.Process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	p, err := proc.ProcessOf(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// group makes a control group of one version and puts a process into a group below it.
// No host has to have both: false where there is no such hierarchy.
func group(t *testing.T, p proc.Process, in func(hierarchy) bool) (above string, ok bool) {
	t.Helper()
	nettest.NeedRoot(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	all := hierarchies(mounts)
	i := slices.IndexFunc(all, in)
	if i < 0 {
		t.Log("this host has no such hierarchy of control groups")
		return "", false
	}
	above = filepath.Join(all[i].dir, nettest.RandomName("twt"))
	own := above + "/vmm"
	for _, dir := range []string{above, own} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			nettest.Unfit(t, "no control group can be made here: "+err.Error())
		}
		t.Cleanup(func() { removeGroup(t, dir) })
	}
	write(t, own+"/cgroup.procs", strconv.Itoa(p.PID))
	return above, true
}

// removeGroup removes a group once its processes have gone.
func removeGroup(t *testing.T, dir string) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := syscall.Rmdir(dir); err == nil || time.Now().After(end) {
			if err != nil {
				t.Errorf("remove %s: %v", dir, err)
			}
			return
		}
		if b, err := os.ReadFile(dir + "/cgroup.procs"); err == nil {
			for _, pid := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(pid); err == nil {
					_ = syscall.Kill(n, syscall.SIGKILL)
				}
			}
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// until looks at a process until something is so.
func until(t *testing.T, v *VMMs, p proc.Process, what string, so func(path.VMMProcess) bool) path.VMMProcess {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		is, err := v.Look(p, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if so(is) {
			return is
		}
		if time.Now().After(end) {
			t.Fatalf("never %s: %+v", what, is)
		}
	}
}

// A group that is frozen from above freezes what is below, and the finding names who froze.
func TestFrozenGroup(t *testing.T) {
	for name, c := range map[string]struct {
		in                 func(hierarchy) bool
		file, freeze, thaw string
		command            string
	}{
		"version 2": {func(h hierarchy) bool { return h.unified }, "cgroup.freeze", "1", "0", "echo 0 > %/cgroup.freeze"},
		"version 1": {func(h hierarchy) bool { return slices.Contains(h.controllers, "freezer") }, "freezer.state", "FROZEN", "THAWED", "echo THAWED > %/freezer.state"},
	} {
		t.Run(name, func(t *testing.T) {
			p := started(t, "sleep", "1000")
			above, ok := group(t, p, c.in)
			if !ok {
				return
			}
			t.Cleanup(func() { write(t, filepath.Join(above, c.file), c.thaw) }) // it could not be killed else
			v := &VMMs{}
			until(t, v, p, "free", func(is path.VMMProcess) bool { return is.Cgroup.Frozen == path.No })
			write(t, filepath.Join(above, c.file), c.freeze)
			is := until(t, v, p, "frozen", func(is path.VMMProcess) bool { return is.Cgroup.Frozen == path.Yes })
			if want := strings.ReplaceAll(c.command, "%", above); is.Cgroup.FreezerThaws != want {
				t.Errorf("thawed by %q, want %q", is.Cgroup.FreezerThaws, want)
			}
			write(t, filepath.Join(above, c.file), c.thaw)
			until(t, v, p, "thawed", func(is path.VMMProcess) bool { return is.Cgroup.Frozen == path.No })
		})
	}
}

func TestThrottledGroup(t *testing.T) {
	p := started(t, "sh", "-c", "while :; do :; done")
	above, ok := group(t, p, func(h hierarchy) bool { return slices.Contains(h.controllers, "cpu") })
	if !ok { // in version 2 the controller would have to be handed down first
		return
	}
	write(t, above+"/cpu.cfs_quota_us", "1000") // of 100,000
	is := until(t, &VMMs{}, p, "throttled", func(is path.VMMProcess) bool { return is.Cgroup.Throttle != nil && is.Cgroup.Throttle.Share() > 0.5 })
	if q := is.Cgroup.Throttle; q.CPUs != 0.01 || q.File != above+"/cpu.cfs_quota_us" {
		t.Errorf("%+v", q)
	}
}

// What the threads do that are not a process's first tells a guest that runs from one that
// does nothing.
func TestThreads(t *testing.T) {
	v := &VMMs{}
	self, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	defer stop.Store(true)
	go func() {
		for !stop.Load() {
			continue
		}
	}()
	is := until(t, v, self, "busy", func(is path.VMMProcess) bool { return is.VCPUs != nil && is.VCPUs.Ran+is.VCPUs.Lack > 0.5 })
	if is.VCPUs.Named || is.VCPUs.Threads == 0 || is.VCPUs.Runs == 0 || is.VCPUs.Over < apart {
		t.Errorf("%+v", is.VCPUs)
	}
	idle := started(t, "sleep", "1000")
	is = until(t, v, idle, "looked at twice", func(path.VMMProcess) bool { return len(v.of[idle]) > 5 })
	if is.VCPUs != nil || len(is.Stuck) > 0 || is.Tracer != nil {
		t.Errorf("a process of one thread that sleeps: %+v", is)
	}
	if _, err := v.Look(proc.Process{PID: idle.PID, Start: idle.Start + 1}, time.Now()); err == nil {
		t.Error("another process of its pid is taken for it")
	}
	v.Forget(map[int]bool{idle.PID: true})
	if len(v.of) != 1 {
		t.Errorf("%d are remembered", len(v.of))
	}
}

// Who debugs a VMM is named.
func TestTracer(t *testing.T) {
	nettest.NeedRoot(t)
	p := started(t, "sleep", "1000")
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	if err := unix.PtraceSeize(p.PID); err != nil {
		t.Fatal(err)
	}
	if err := unix.PtraceInterrupt(p.PID); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Wait4(p.PID, nil, unix.WALL, nil); err != nil {
		t.Fatal(err)
	}
	is, err := (&VMMs{}).Look(p, time.Now())
	if err != nil || is.Tracer == nil || is.Tracer.PID != os.Getpid() || len(is.Stuck) != 1 || is.Stuck[0].State != "t" {
		t.Errorf("%+v, %v", is, err)
	}
	if err := unix.PtraceDetach(p.PID); err != nil {
		t.Fatal(err)
	}
	if is, err := (&VMMs{}).Look(p, time.Now()); err != nil || is.Tracer != nil {
		t.Errorf("let go: %+v, %v", is, err)
	}
}

func BenchmarkLookAtVMM(b *testing.B) {
	self, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	v := &VMMs{}
	for b.Loop() {
		if _, err := v.Look(self, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
