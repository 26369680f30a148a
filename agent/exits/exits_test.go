package exits

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

func TestExitIsTold(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	for _, c := range []struct {
		name, script string
		signal       syscall.Signal
		want         string
	}{
		{"status", "read x; exit 7", 0, "ended with status 7"},
		{"zero", "read x; exit 0", 0, "ended with status 0"},
		{"killed", "read x", syscall.SIGKILL, "was killed by SIGKILL"},
		{"terminated", "read x", syscall.SIGTERM, "was killed by SIGTERM"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "sh", "-c", c.script)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
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
			if e.PID != cmd.Process.Pid || e.Command != "sh" || e.String() != c.want {
				t.Errorf("told of %d (%s), which %s; want %d (sh), which %s", e.PID, e.Command, e, cmd.Process.Pid, c.want)
			}
			if e.Time.Before(before) || e.Time.After(time.Now()) {
				t.Errorf("ended at %v, not after %v", e.Time, before)
			}
		})
	}
}

// A process of many threads ends once, whichever of them ends first.
func TestThreadsEndOnce(t *testing.T) {
	nettest.NeedRoot(t)
	w := open(t)
	// A Go program has threads: this test itself, waiting to be killed.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestMainThreadGoes$")
	cmd.Env = append(os.Environ(), "EXITS_CHILD=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := w.Watch(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // threads have come and gone
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if e := w.next(t); e.PID != cmd.Process.Pid || e.String() != "was killed by SIGKILL" {
		t.Errorf("told of %d, which %s", e.PID, e)
	}
	_ = cmd.Wait()
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

func FuzzDecode(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decode(b)
		if (err == nil) != (len(b) >= 32) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		_ = e.String()
	})
}

type told struct {
	*Watcher
	c chan Exit
}

func open(t *testing.T) *told {
	t.Helper()
	w, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c, done := make(chan Exit, 16), make(chan error, 1)
	go func() { done <- w.Run(ctx, func(e Exit) { c <- e }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &told{w, c}
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
