package probe

import (
	"cmp"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// withFiles starts a process in a namespace of its own that has files open from
// descriptor 3 on, and ends with the test.
func withFiles(t testing.TB, files ...*os.File) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	cmd.ExtraFiles = files
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return cmd
}

// TestHoldersBothWays compares what the iterator says of this test's taps with
// what /proc says.
func TestHoldersBothWays(t *testing.T) {
	t.Parallel()
	p := load(t)
	if p.holders == nil {
		nettest.Unfit(t, "no iterator to compare with")
	}
	byProc, err := Load(Config{HooksDir: t.TempDir() + "/hooks", HoldersByProc: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { byProc.Close() })

	mine := map[netns.Cookie]bool{}
	_, d, guest := tap(t)
	mine[d.Netns] = true
	_, other, theirs := tap(t)
	mine[other.Netns] = true
	unattached, err := os.OpenFile("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unattached.Close()
	child := withFiles(t, theirs, unattached, guest)
	theirs.Close() // only the child has it now
	nettest.Eventually(t, "the child is its own program", func() bool {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(child.Process.Pid) + "/comm")
		return err == nil && string(comm) == "cat\n"
	})

	read := func(p *Probe) []Holder {
		all, err := p.Holders()
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(h Holder) bool { return !mine[h.Tap.Netns] })
		slices.SortFunc(all, func(a, b Holder) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.FD, b.FD)) })
		return all
	}
	iterated, walked := read(p), read(byProc)
	if !reflect.DeepEqual(iterated, walked) {
		t.Errorf("the iterator says\n%+v\n/proc says\n%+v", iterated, walked)
	}
	if len(walked) != 3 {
		t.Fatalf("%d holdings, want this process's and two of the child's: %+v", len(walked), walked)
	}
	i := slices.IndexFunc(walked, func(h Holder) bool { return h.Tap == other })
	h := walked[i]
	if h.PID != child.Process.Pid || h.FD != 3 || h.Command != "cat" || h.TapName != "tap0" || h.ProcessNetns == other.Netns {
		t.Errorf("the tap that only the child has: %+v", h)
	}
}

func TestTapName(t *testing.T) {
	for name, tt := range map[string]struct{ info, want string }{
		"attached":   {"pos:\t0\nflags:\t0104002\nmnt_id:\t27\niff:\ttap0\n", "tap0"},
		"unattached": {"pos:\t0\nflags:\t0104002\n", ""},
		"no value":   {"iff:\t\n", ""},
		"no newline": {"iff:\ttap-7", "tap-7"},
		"empty":      {"", ""},
		"elsewhere":  {"note: iff:\ttap0\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tapName([]byte(tt.info)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// BenchmarkHolders reads all holders of a host with 1,000 more processes of 23
// files each, 100 of which hold a tap.
func BenchmarkHolders(b *testing.B) {
	nettest.NeedRoot(b)
	null, err := os.Open(os.DevNull)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	names, _ := field(b, 100)
	for i := range 1000 {
		files := slices.Repeat([]*os.File{null}, 20)
		if i < len(names) {
			files[0] = nettest.AttachTap(b, names[i], "tap0")
		}
		cmd := exec.Command("cat")
		cmd.ExtraFiles = files
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	}
	for name, byProc := range map[string]bool{"iterator": false, "proc": true} {
		b.Run(name, func(b *testing.B) {
			p, err := Load(Config{HooksDir: b.TempDir() + "/hooks", HoldersByProc: byProc})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			for b.Loop() {
				held, err := p.Holders()
				if err != nil {
					b.Fatal(err)
				}
				if len(held) < len(names) {
					b.Fatalf("%d holdings of %d taps", len(held), len(names))
				}
			}
		})
	}
}
