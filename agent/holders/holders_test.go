package holders

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
)

// open loads the reader, and unloads it with the test.
func open(t *testing.T, cfg Config) *Reader {
	t.Helper()
	nettest.NeedRoot(t)
	cfg.PIDs = pids(t)
	r := Open(cfg)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func pids(t testing.TB) proc.Numbers {
	t.Helper()
	n, err := proc.NumbersHere()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tap makes a tap in a namespace of its own that the test holds.
func tap(t *testing.T) (d netns.Device, guest *os.File) {
	t.Helper()
	ns := nettest.Netns(t)
	guest = nettest.AttachTap(t, ns, "tap0")
	return nettest.Device(t, ns, "tap0"), guest
}

// TestHoldersBothWays compares what the iterator says of this test's taps with
// what /proc says.
func TestHoldersBothWays(t *testing.T) {
	iterator, byProc := open(t, Config{}), open(t, Config{ByProc: true})
	if err := iterator.Lacks(); err != nil {
		nettest.Unfit(t, "no iterator to compare with: "+err.Error())
	}

	mine := map[netns.Cookie]bool{}
	d, guest := tap(t)
	mine[d.Netns] = true
	other, theirs := tap(t)
	mine[other.Netns] = true
	unattached, err := os.OpenFile("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unattached.Close()
	child := nettest.WithFiles(t, theirs, unattached, guest)
	theirs.Close() // only the child has it now
	nettest.Eventually(t, "the child is its own program", func() bool {
		comm, err := os.ReadFile("/proc/" + strconv.Itoa(child.Process.Pid) + "/comm")
		return err == nil && string(comm) == "cat\n"
	})

	read := func(r *Reader) []Holder {
		all, err := r.Read()
		if err != nil {
			t.Fatal(err)
		}
		all = slices.DeleteFunc(all, func(h Holder) bool { return !mine[h.Tap.Netns] })
		slices.SortFunc(all, func(a, b Holder) int { return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.FD, b.FD)) })
		return all
	}
	iterated, walked := read(iterator), read(byProc)
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

func TestHolders(t *testing.T) {
	r := open(t, Config{})
	d, guest := tap(t)
	h := holderOf(t, r, d)
	if h == nil {
		t.Fatal("the tap's holder is not listed")
	}
	self, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	if h.PID != os.Getpid() || h.TapName != "tap0" || h.ProcessNetns != self {
		t.Errorf("holder %+v, want this process (%d) in namespace %d", h, os.Getpid(), self)
	}
	guest.Close()
	if h := holderOf(t, r, d); h != nil {
		t.Errorf("closed, and still held: %+v", h)
	}
}

// Whatever the iterator writes, what is whole is read, and what is cut is an error.
func FuzzHolders(f *testing.F) {
	size := binary.Size(bpf.HoldersHolder{})
	f.Add(make([]byte, size))
	f.Add(bytes.Repeat([]byte{1}, 3*size))
	f.Fuzz(func(t *testing.T, raw []byte) {
		holders, err := decode(bytes.NewReader(raw))
		if whole := len(raw)%size == 0; whole != (err == nil) || whole && len(holders) != len(raw)/size {
			t.Errorf("%d holders of %d bytes: %v", len(holders), len(raw), err)
		}
		for _, h := range holders {
			if strings.ContainsRune(h.Command+h.TapName, 0) {
				t.Errorf("a name goes on after its end: %+v", h)
			}
		}
	})
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
	var names []string
	for range 100 {
		ns := nettest.Netns(b)
		nettest.Tap(b, ns, "tap0")
		names = append(names, ns)
	}
	for i := range 1000 {
		files := slices.Repeat([]*os.File{null}, 20)
		if i < len(names) {
			files[0] = nettest.AttachTap(b, names[i], "tap0")
		}
		cmd := exec.Command("cat")
		cmd.ExtraFiles = files
		nettest.Start(b, "", cmd)
	}
	for name, byProc := range map[string]bool{"iterator": false, "proc": true} {
		b.Run(name, func(b *testing.B) {
			r := Open(Config{ByProc: byProc, PIDs: pids(b)})
			defer r.Close()
			for b.Loop() {
				held, err := r.Read()
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
