package scale

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/proctest"
)

// inOtherMounts is a command that runs in a mount namespace of its own, in which
// dir is another directory of the same path, and is empty.
func inOtherMounts(dir string, args ...string) *exec.Cmd {
	const script = `mount --make-rprivate / && mount -t tmpfs tmpfs "$0" && exec "$@"`
	return exec.Command("unshare", append([]string{"--mount", "sh", "-c", script, dir}, args...)...)
}

// labels returns the names of the filters on a slot's tap that are Tapwatch's.
func (f *fleet) labels(t *testing.T, i int) (names []string) {
	t.Helper()
	f.onTap(t, i, func(dev netlink.Link) error {
		for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
			filters, err := netlink.FilterList(dev, parent)
			if err != nil {
				return err
			}
			for _, filter := range filters {
				if b, ok := filter.(*netlink.BpfFilter); ok && strings.HasPrefix(b.Name, "tapwatch") {
					names = append(names, b.Name)
				}
			}
		}
		return nil
	})
	return names
}

// Two built agents of one --run-dir in two mount namespaces, a cleanup in each, and
// the end of one: the other's hooks stay and count every frame.
func TestTwoAgentsOfOneRunDir(t *testing.T) {
	bin := build(t)
	f := makeFleet(t, 2, 1)
	here := watch(t, bin, f.dir)
	here.hooked(f.n)
	there := proctest.StartCmd(t, inOtherMounts(string(f.dir), bin, "agent", "--listen", "127.0.0.1:0", "--run-dir", string(f.dir)))
	w := &watcher{t: t, p: there, url: there.WaitFor(t, 0, `^metrics: (\S+)/metrics`).Groups[1]}
	w.until("hooks of both", func() bool { return len(f.labels(t, 0)) == 4 && len(f.labels(t, 1)) == 4 })

	before, _, _ := here.received()
	g := speak(t, f.taps[0])
	for _, cmd := range []*exec.Cmd{
		exec.Command(bin, "cleanup", "--run-dir", string(f.dir)),
		inOtherMounts(string(f.dir), bin, "cleanup", "--run-dir", string(f.dir)),
	} {
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), "removed") || strings.Count(string(out), "their agent lives") != 2 {
			t.Errorf("cleanup beside two that live: %v\n%s", err, out)
		}
	}
	if n := len(f.labels(t, 0)); n != 4 {
		t.Errorf("%d filters after the cleanups, want 4", n)
	}
	there.Kill() // unshare and sh have become the agent
	out, err := exec.Command(bin, "cleanup", "--run-dir", string(f.dir)).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "removed hooks on 2 taps, of dead agents") {
		t.Errorf("cleanup after the other's end: %v\n%s", err, out)
	}
	if n := len(f.labels(t, 0)); n != 2 {
		t.Errorf("%d filters in the end, want 2", n)
	}
	sent := float64(g.stop())
	here.until("every frame counted", func() bool { n, _, _ := here.received(); return n >= before+sent })
	if n, _, _ := here.received(); n != before+sent {
		t.Errorf("%g frames counted of %g", n-before, sent)
	}
}

// A lock that somebody else holds stops a start and a cleanup, which say who it is.
func TestRunDirLockedByAnother(t *testing.T) {
	bin := build(t)
	f := makeFleet(t, 1, 0)
	locked := proctest.Start(t, "flock", "--no-fork", string(f.dir)+"/agent.lock", "sh", "-c", "echo locked; exec sleep 600")
	locked.WaitFor(t, 0, "^locked$")
	for _, args := range [][]string{{"agent", "--listen", "127.0.0.1:0"}, {"cleanup"}} {
		out, err := exec.Command(bin, append(args, "--run-dir", string(f.dir))...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "locked by pid ") || !strings.Contains(string(out), `"sleep"`) {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
}
