package proc

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestProcessAlive(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := ProcessOf(cmd.Process.Pid)
	if err != nil || !p.Alive() {
		t.Errorf("%+v, %v: not alive", p, err)
	}
	if other := (Process{PID: p.PID, Start: p.Start + 1}); other.Alive() {
		t.Error("another process of the same pid is taken for it")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); p.Alive(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("alive as a zombie")
		}
	}
	if again, err := ProcessOf(p.PID); again != p || err != nil {
		t.Errorf("a zombie is %+v, %v, want %+v", again, err, p)
	}
	_ = cmd.Wait() // killed, as asked
	if p.Alive() {
		t.Error("alive after it was reaped")
	}
	if (Process{}).Alive() {
		t.Error("no process is alive")
	}
}

func TestWhatCannotBeReadOfAProcess(t *testing.T) {
	self, err := ProcessOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		of   Process
		want error
	}{
		"none":               {Process{}, ErrNone},
		"above pid_max":      {Process{PID: 1 << 22, Start: 1}, ErrGone},
		"another of its pid": {Process{PID: self.PID, Start: self.Start + 1}, ErrGone},
	} {
		if _, err := c.of.State(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if s, err := StatOf(os.Getpid()); err != nil || s.Parent != os.Getppid() {
		t.Errorf("the test's parent is %d, %v", s.Parent, err)
	}
	if s, err := self.State(); err != nil || s.Ended() || s.Stopped() {
		t.Errorf("the test's own process is %q, %v", s, err)
	}
	if !(Process{}).Started().IsZero() || time.Since(self.Started()).Abs() > time.Hour {
		t.Errorf("none was started %v, the test %v", (Process{}).Started(), self.Started())
	}
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for name, c := range map[string]struct {
		stat string
		want Stat
		ok   bool
	}{
		"plain":            {"1 (cat)" + rest, Stat{Process: Process{Start: 4711}, Command: "cat", State: 'S', Parent: 1}, true},
		"hostile command":  {"1 (a) Z (b)" + rest, Stat{Process: Process{Start: 4711}, Command: "a) Z (b", State: 'S', Parent: 1}, true},
		"nothing":          {"", Stat{}, false},
		"no command":       {"1 cat S", Stat{}, false},
		"short":            {"1 (cat) S 1 2", Stat{}, false},
		"no parent":        {"1 (cat)" + strings.Replace(rest, " 1 ", " x ", 1), Stat{}, false},
		"start is no time": {"1 (cat)" + strings.Replace(rest, "4711", "x", 1), Stat{}, false},
	} {
		got, err := parseStat([]byte(c.stat))
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}
