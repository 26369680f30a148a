package exits

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
)

func TestExitIsTold(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	for _, c := range []struct {
		name, script string
		signal       syscall.Signal
		want         string
		wanted       bool
	}{
		{"status", "read x; exit 7", 0, "ended with status 7", false},
		{"zero", "read x; exit 0", 0, "ended with status 0", true},
		{"killed", "read x", syscall.SIGKILL, "was killed by SIGKILL from exits.test (pid %d), which launched it", true},
		{"terminated", "read x", syscall.SIGTERM, "was killed by SIGTERM from exits.test (pid %d), which launched it", true},
		{"faulted", "read x", syscall.SIGSEGV, "was killed by SIGSEGV from exits.test (pid %d), which launched it", false},
		{"suicide", "read x; kill -KILL $$", 0, "was killed by SIGKILL of its own making", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", c.script)
			in := nettest.Start(t, "", cmd).In
			if err := w.Watch(cmd.Process.Pid); err != nil {
				t.Fatal(err)
			}
			before := time.Now()
			if c.signal != 0 {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			} else if err := in.Close(); err != nil {
				t.Fatal(err)
			}
			e := w.next(t)
			_ = cmd.Wait() // the status is what is tested
			want := c.want
			if strings.Contains(want, "%d") {
				want = fmt.Sprintf(want, os.Getpid())
			}
			if e.PID != cmd.Process.Pid || e.Command != "sh" || e.String() != want || e.Wanted() != c.wanted {
				t.Errorf("told of %d (%s), which %s (wanted %v); want %d (sh), which %s", e.PID, e.Command, e, e.Wanted(), cmd.Process.Pid, want)
			}
			if !e.HeldKnown || e.HeldTap {
				t.Errorf("it held a tap: known %v, %v", e.HeldKnown, e.HeldTap)
			}
			if e.Time.Before(before) || e.Time.After(time.Now()) {
				t.Errorf("ended at %v, not after %v", e.Time, before)
			}
		})
	}
}

// A process that has a tap open, and one that has closed it: the kernel says which
// went first. Whoever else sends the signal is told, though he did not launch it.
func TestWhatWentFirst(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	ns := nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	for script, held := range map[string]bool{"echo; read x": true, "exec 3>&-; echo; read x": false} {
		tap := nettest.AttachTap(t, ns, "tap0")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.ExtraFiles = []*os.File{tap}
		c := nettest.Start(t, "", cmd)
		tap.Close()
		if err := w.Watch(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		c.Hears(t, "") // it has closed what it closes
		killer := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf("kill -KILL %d", cmd.Process.Pid))
		if err := killer.Run(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		e := w.next(t)
		if !e.HeldKnown || e.HeldTap != held {
			t.Errorf("%s: held a tap to its end %v (known %v), want %v", script, e.HeldTap, e.HeldKnown, held)
		}
		if want := fmt.Sprintf("was killed by SIGKILL from sh (pid %d)", killer.Process.Pid); e.String() != want || e.Wanted() {
			t.Errorf("%s (wanted %v), want %s", e, e.Wanted(), want)
		}
	}
}

func TestStopIsTold(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	cmd := exec.CommandContext(t.Context(), "sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Watch(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		signal syscall.Signal
		stop   bool
	}{{syscall.SIGSTOP, true}, {syscall.SIGCONT, false}} {
		if err := cmd.Process.Signal(s.signal); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-w.stops:
			if got != s.stop {
				t.Errorf("%s told as stop: %v", s.signal, got)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s was not told", s.signal)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
}

// A process of many threads ends once, whichever of them ends first, also where all
// of them are killed while they run.
func TestThreadsEndOnce(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	for range 30 {
		// A Go program has threads: this test itself, waiting to be killed.
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestMainThreadGoes$")
		cmd.Env = append(os.Environ(), "EXITS_CHILD=1")
		out := nettest.Start(t, "", cmd).Out
		if err := w.Watch(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if _, err := out.ReadByte(); err != nil { // threads have come and gone
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if e := w.next(t); e.PID != cmd.Process.Pid || !strings.HasPrefix(e.String(), "was killed by SIGKILL") {
			t.Errorf("told of %d, which %s", e.PID, e)
		}
		_ = cmd.Wait()
	}
	other := exec.CommandContext(t.Context(), "true")
	if err := other.Run(); err != nil { // not watched: not told
		t.Fatal(err)
	}
	select {
	case e := <-w.c:
		t.Errorf("told of %d too, which %s", e.PID, e)
	case <-time.After(100 * time.Millisecond):
	}
	if n, err := w.Lost(); n != 0 || err != nil {
		t.Errorf("lost %d: %v", n, err)
	}
}

// TestMainThreadGoes is the process of TestThreadsEndOnce.
func TestMainThreadGoes(t *testing.T) {
	if os.Getenv("EXITS_CHILD") == "" {
		return
	}
	threadsComeAndGo()
	runtime.GOMAXPROCS(8) // more threads than processors, all of them running
	var turns atomic.Uint64
	for range 8 {
		go func() {
			for {
				turns.Add(1)
			}
		}()
	}
	os.Stdout.WriteString("!")
	select {}
}

func TestForgottenIsNotTold(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	cmd := exec.CommandContext(t.Context(), "sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{w.Watch(cmd.Process.Pid), w.Forget(cmd.Process.Pid), w.Forget(cmd.Process.Pid), cmd.Process.Kill()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	select {
	case e := <-w.c:
		t.Errorf("told of %d, which %s", e.PID, e)
	case <-time.After(100 * time.Millisecond):
	}
}

// A process that signals its own threads, as Firecracker does with its vCPUs, is told of;
// what another sends it is not.
func TestKickIsTold(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `trap : 40; while read line; do for i in 1 2 3; do kill -40 $$; done; echo done; done`)
	child := nettest.Start(t, "", cmd)
	if err := w.Watch(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	kick := func() {
		if _, err := fmt.Fprintln(child.In); err != nil {
			t.Fatal(err)
		}
		if _, err := child.Out.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	kick()
	select {
	case pid := <-w.kicks:
		if pid != cmd.Process.Pid {
			t.Errorf("pid %d is told, not %d", pid, cmd.Process.Pid)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it was not told")
	}
	if err := cmd.Process.Signal(syscall.Signal(40)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-w.kicks:
		t.Error("told more than once, or of another's signal")
	case <-time.After(100 * time.Millisecond):
	}
}

var toldSize = binary.Size(bpf.ExitsTold{})

func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, toldSize))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		told, err := decode(b)
		if (err == nil) != (len(b) >= toldSize) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		e := exitOf(told)
		_, _ = e.String(), e.Wanted()
	})
}

type told struct {
	*Watcher
	c     chan Exit
	stops chan bool
	kicks chan int
}

func open(t *testing.T) *told {
	t.Helper()
	pids, err := proc.NumbersHere()
	if err != nil {
		t.Fatal(err)
	}
	return openAt(t, pids)
}

// openAt opens a watcher by the pids of some PID namespace.
func openAt(t *testing.T, pids proc.Numbers) *told {
	t.Helper()
	w, err := Open(pids)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, stops, kicks, done := make(chan Exit, 16), make(chan bool, 16), make(chan int, 16), make(chan error, 1)
	go func() {
		done <- w.Run(ctx, Told{Ended: func(e Exit) { c <- e }, Signalled: func(_ int, stop bool) { stops <- stop }, Kicked: func(pid int) { kicks <- pid }})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &told{w, c, stops, kicks}
}

func (w *told) next(t *testing.T) Exit {
	t.Helper()
	select {
	case e := <-w.c:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("the end of the process was not told")
	}
	return Exit{}
}

// threadsComeAndGo ends some threads, each by ending a goroutine that is locked to it.
func threadsComeAndGo() {
	for range 8 {
		gone := make(chan int)
		go func() {
			defer close(gone)
			runtime.LockOSThread()
			gone <- unix.Gettid()
		}()
		tid := <-gone
		if tid == os.Getpid() { // Go parks the main thread instead
			continue
		}
		for unix.Tgkill(os.Getpid(), tid, 0) == nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// Another PID namespace has other numbers: what is watched is its process 1, and who
// sends the signal is in no namespace that it shows.
func TestExitInAnotherPIDNamespace(t *testing.T) {
	nettest.NeedRoot(t)
	cmd := exec.CommandContext(t.Context(), "cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	nettest.Start(t, "", cmd)
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/pid", cmd.Process.Pid), &st); err != nil {
		t.Fatal(err)
	}
	w := openAt(t, proc.Numbers{Inode: uint32(st.Ino)})
	if err := w.Watch(1); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	e := w.next(t)
	_ = cmd.Wait() // the status is what is tested
	if want := "was killed by SIGKILL from exits.test, which launched it"; e.PID != 1 || e.Command != "cat" || e.String() != want {
		t.Errorf("told of %d (%s), which %s; want 1 (cat), which %s", e.PID, e.Command, e, want)
	}
}

// A launcher that ends its VMM in the moment in which it is found is not taken for others.
func TestWantedOfAnUnknownSender(t *testing.T) {
	killed, faulted := syscall.WaitStatus(unix.SIGKILL), syscall.WaitStatus(unix.SIGSEGV)
	for _, c := range []struct {
		e    Exit
		want bool
	}{
		{Exit{Status: unix.WaitStatus(killed), By: Ancestor}, true}, {Exit{Status: unix.WaitStatus(killed), By: Unknown}, true},
		{Exit{Status: unix.WaitStatus(killed), By: Other}, false}, {Exit{Status: unix.WaitStatus(killed), By: Kernel}, false},
		{Exit{Status: unix.WaitStatus(faulted), By: Unknown}, false},
	} {
		if c.e.Wanted() != c.want {
			t.Errorf("%+v: wanted %v", c.e, !c.want)
		}
	}
}
