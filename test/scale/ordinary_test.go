package scale

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/proctest"
)

// nobody is the user that owns nothing.
const nobody = 65534

// TestOrdinaryUser runs `tapwatch agent --attach-mode tracepoint` as a user with
// four capabilities and nothing else: it sees carrier, holders and every frame.
func TestOrdinaryUser(t *testing.T) {
	f := makeFleet(t, 3, 1)
	bin := filepath.Join(string(f.dir), "tapwatch") // where that user may run it
	code, err := os.ReadFile(build(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin, code, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(bin) })
	for _, path := range []string{string(f.dir), f.dir.SlotsDir()} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(string(f.dir), nobody, nobody); err != nil {
		t.Fatal(err)
	}

	caps := []uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_NET_BROADCAST}
	cmd := exec.Command(bin, "agent", "--attach-mode", "tracepoint", "--listen", "127.0.0.1:0", "--run-dir", string(f.dir))
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: caps}
	w := &watcher{t: t, began: time.Now(), dir: f.dir, p: proctest.StartCmd(t, cmd)}
	w.url = w.p.WaitFor(t, 0, `^metrics: (\S+)/metrics`).Groups[1]
	w.hooked(f.n)
	w.until("the carrier and who holds the tap", func() bool {
		return w.sum(`tapwatch_network_carrier`) == 1 && w.sum("tapwatch_tap_holders") == 1
	})
	if n := w.sum(`tapwatch_probe_attached{mode="tracepoint"}`); n != float64(f.n) {
		t.Errorf("%g taps are hooked by tracepoint, want %d", n, f.n)
	}

	before, _, _ := w.received()
	g := speak(t, f.taps[0])
	w.until("frames counted", func() bool { n, _, _ := w.received(); return n > before })
	sent := float64(g.stop())
	w.until("every frame counted", func() bool { n, _, _ := w.received(); return n >= before+sent })
	if n, _, _ := w.received(); n != before+sent {
		t.Errorf("%g frames counted of %g", n-before, sent)
	}

	var want int64
	for _, c := range caps {
		want |= 1 << c
	}
	status := fmt.Sprintf("/proc/%d/status", w.pid())
	if got := hexField(t, status, "CapEff"); got != want {
		t.Errorf("CapEff is %#x, want %#x", got, want)
	}
	if uid, err := field(status, "Uid"); err != nil || uid != nobody {
		t.Errorf("it runs as user %d, %v", uid, err)
	}
	w.p.Stop(t)
	if code := w.p.ExitCode(); code != 0 {
		t.Errorf("ended with %d: %s", code, w.p.Output())
	}
}
