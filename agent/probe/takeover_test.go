package probe

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// reload is what a restarted agent does: it loads with the notes of the last one.
func reload(t *testing.T, dir string) *Probe {
	t.Helper()
	p, err := Load(Config{HooksDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// chatter sends datagrams to the guest from inside ns until stop is called,
// which returns how many went. IPv6 is silenced, so nothing else goes.
func chatter(t *testing.T, ns string) (stop func() uint64) {
	t.Helper()
	var conn net.Conn
	nettest.In(t, ns, func() (err error) {
		conn, err = net.Dial("udp", "169.254.0.21:9")
		return err
	})
	var sent atomic.Uint64
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
			}
			if _, err := conn.Write([]byte("x")); err == nil {
				sent.Add(1)
			}
			time.Sleep(20 * time.Microsecond)
		}
	}()
	nettest.Eventually(t, "some datagrams", func() bool { return sent.Load() > 100 })
	return func() uint64 {
		close(end)
		<-ended
		conn.Close()
		return sent.Load()
	}
}

func silence(t *testing.T, ns string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644)
	})
}

func filters(t *testing.T, p *Probe, ns string, d netns.Device) (ids, tags []string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		fs, err := p.hooks.filtersOf(d)
		for _, f := range fs {
			if f == nil {
				t.Fatal("a filter of ours is missing")
			}
			ids, tags = append(ids, strconv.Itoa(f.Id)), append(tags, f.Tag)
		}
		return err
	})
	return ids, tags
}

// An agent that was killed is followed by another while datagrams flow: none is
// lost from the count, and the filters are not touched.
func TestTakeoverLosesNothing(t *testing.T) {
	t.Parallel()
	killed := load(t)
	ns, d, _ := tap(t)
	silence(t, ns)
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	before, err := killed.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	stop := chatter(t, ns)
	ids, _ := filters(t, killed, ns, d)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}

	next := reload(t, killed.hooks.dir)
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	sent := stop()
	after, err := next.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	if got := after.TransmitPackets - before.TransmitPackets; got != sent {
		t.Errorf("counted %d of %d datagrams", got, sent)
	}
	if after.Created != before.Created || before.Created == 0 {
		t.Errorf("created %d, was %d", after.Created, before.Created)
	}
	now, _ := filters(t, next, ns, d)
	equal(t, "filter ids", now, ids...)
	if err := next.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs in the end", q)
	equal(t, "filters in the end", f)
}

// Another version of a program counts on in the same maps, swapped in place.
func TestTakeoverSwapsAnotherVersion(t *testing.T) {
	t.Parallel()
	killed := load(t)
	ns, d, _ := tap(t)
	silence(t, ns)
	// An older version: receive's program in transmit's place, which has another tag.
	newer := killed.tap.Programs[bpf.TapProgTapwatchTx]
	killed.tap.Programs[bpf.TapProgTapwatchTx] = killed.tap.Programs[bpf.TapProgTapwatchRx]
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	killed.tap.Programs[bpf.TapProgTapwatchTx] = newer
	before, err := killed.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	_, old := filters(t, killed, ns, d)
	stop := chatter(t, ns)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	next := reload(t, killed.hooks.dir)
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	sent := stop()
	after, err := next.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	got := after.TransmitPackets + after.ReceivePackets - before.TransmitPackets - before.ReceivePackets
	if got != sent || after.Created != before.Created {
		t.Errorf("counted %d of %d datagrams, since %d, before since %d", got, sent, after.Created, before.Created)
	}
	_, tags := filters(t, next, ns, d)
	if tags[0] != old[0] || tags[1] == old[1] {
		t.Errorf("tags %v, were %v: want only the second to differ", tags, old)
	}
}

// A layout or configuration that differs begins anew, and says since when; what
// the old one left on the device is replaced.
func TestTakeoverBeginsAnew(t *testing.T) {
	t.Parallel()
	killed := load(t)
	ns, d, _ := tap(t)
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	connect(t, ns, 80)
	before := eventually(t, killed, d, "a SYN", func(c Counters) bool { return c.SYNs == 1 })
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	next, err := Load(Config{HooksDir: killed.hooks.dir, EnvdPort: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	c, err := next.Counters(d)
	if err != nil || c.SYNs != 0 || c.Created <= before.Created {
		t.Errorf("%v, %+v; want zero since now, not since %d", err, c, before.Created)
	}
	_, f := atDevice(t, ns, d)
	equal(t, "filters", f, "tapwatch_rx", "tapwatch_tx")
}

// The name of a map tells layouts apart, whatever changes in them.
func TestMapNames(t *testing.T) {
	name := func(change func(*btf.Struct), owner Owner) string {
		spec, err := bpf.LoadTap()
		if err != nil {
			t.Fatal(err)
		}
		change(btf.UnderlyingType(spec.Maps[bpf.TapMapTaps].Value).(*btf.Struct))
		if err := nameMaps(spec, owner, Config{EnvdPort: 49983}); err != nil {
			t.Fatal(err)
		}
		return spec.Maps[bpf.TapMapTaps].Name
	}
	plain := name(func(*btf.Struct) {}, 1)
	if again := name(func(*btf.Struct) {}, 1); again != plain || len(plain) > 15 {
		t.Errorf("%s, then %s: want the same, of at most 15 bytes", plain, again)
	}
	for what, change := range map[string]func(*btf.Struct){
		"renamed": func(s *btf.Struct) { s.Members[5].Name = "other" },
		"moved":   func(s *btf.Struct) { s.Members[5].Offset += 64 },
		"dropped": func(s *btf.Struct) { s.Members = s.Members[1:] },
		"retyped": func(s *btf.Struct) { s.Members[5].Type = &btf.Int{Size: 4, Name: "u32"} },
		"grown":   func(s *btf.Struct) { s.Size += 8 },
	} {
		if name(change, 1) == plain {
			t.Errorf("a field %s, and the map's name is the same", what)
		}
	}
	if name(func(*btf.Struct) {}, 2) == plain {
		t.Error("another instance, and the map's name is the same")
	}
}

// What was counted for a device that went meanwhile is forgotten.
func TestPrune(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	gone := netns.Device{Netns: d.Netns, Ifindex: 4711}
	if err := p.register(gone, ModeTC); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Prune(func(have netns.Device) bool { return have == d }); n != 1 || err != nil {
		t.Errorf("pruned %d, %v; want 1", n, err)
	}
	if _, err := p.Counters(gone); err == nil {
		t.Error("the one that is gone is still there")
	}
	if _, err := p.Counters(d); err != nil {
		t.Error(err)
	}
}

// An entry whose filters went with its device speaks for that device, not for a
// new one under the same index.
func TestNoTakeoverWithoutFilters(t *testing.T) {
	t.Parallel()
	killed := load(t)
	ns, d, _ := tap(t)
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	connect(t, ns, 80)
	before := eventually(t, killed, d, "a SYN", func(c Counters) bool { return c.SYNs == 1 })
	nettest.In(t, ns, func() error { return killed.hooks.removeFilters(d) })
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	c, err := killed.Counters(d)
	if err != nil || c.SYNs != 0 || c.Created <= before.Created {
		t.Errorf("%v, %+v; want zero since now, not since %d", err, c, before.Created)
	}
}

// child is the environment variable that makes a test of this binary play a
// part in another one's: the place of a device, as "netns-path dir ifindex".
const child = "TAPWATCH_PROBE_CHILD"

// TestChildAttaches is the agent that TestTakeoverAfterSIGKILL kills.
func TestChildAttaches(t *testing.T) {
	args := strings.Fields(os.Getenv(child))
	if len(args) != 3 {
		return // not a test by itself
	}
	p := reload(t, args[1])
	cookie, err := netns.CookieOf(args[0])
	if err != nil {
		t.Fatal(err)
	}
	index, err := strconv.Atoi(args[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Attach(args[0], netns.Device{Netns: cookie, Ifindex: netns.Ifindex(index)}, "tap0"); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("\nattached\n")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent ends, at the latest
}

func TestTakeoverAfterSIGKILL(t *testing.T) {
	t.Parallel()
	ns, d, _ := tap(t)
	silence(t, ns)
	dir := t.TempDir() + "/hooks"
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildAttaches$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+ns+" "+dir+" "+strconv.Itoa(int(d.Ifindex)))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	waitFor(t, out, "attached")

	stop := chatter(t, ns)
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its error is the signal
	next := reload(t, dir)
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	sent := stop()
	c, err := next.Counters(d)
	if err != nil || c.TransmitPackets != sent {
		t.Errorf("%v, counted %d of %d datagrams", err, c.TransmitPackets, sent)
	}
	if n := len(next.Stats()); n != 1 || next.Stats()[ModeTC].Attached != 1 {
		t.Errorf("attached: %+v", next.Stats())
	}
}

// waitFor reads lines until one is word.
func waitFor(t *testing.T, r interface{ Read([]byte) (int, error) }, word string) {
	t.Helper()
	var seen []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		if s.Text() == word {
			return
		}
		seen = append(seen, s.Text())
	}
	t.Fatalf("%q never came: %q, %v", word, seen, s.Err())
}
