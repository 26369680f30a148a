package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// patience is for what must come at last: a slow machine is no failure.
const patience = time.Minute

// never is how long tests let the counters of what has gone be told: until they
// say that the grace is over.
const never = 24 * time.Hour

// graceEnds lets the time pass for which the counters of what has gone are told.
func (h *host) graceEnds() { h.agent.slots.ForgetGone(time.Now().Add(2 * never)) }

// host is a running agent with one slot of ours: a namespace with a persistent
// tap that nobody holds.
type host struct {
	t      *testing.T
	agent  *Agent
	client httpapi.Client
	slot   registry.Slot
	relay  net.Listener // keeps the namespace alive until it is closed
	dir    registry.Dir
	stop   context.CancelFunc
	done   chan error
}

func start(t *testing.T) *host {
	t.Helper()
	return startWith(t, Config{Every: 50 * time.Millisecond})
}

// startWith has the rest of the configuration made here; without a proxy one that
// nobody calls.
func startWith(t *testing.T, cfg Config) *host {
	t.Helper()
	nettest.NeedRoot(t)
	if !cfg.Proxy.IsValid() {
		proxy, err := net.Listen("tcp", "127.0.0.1:0") // only looked at, never called
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { proxy.Close() })
		cfg.Proxy = proxy.Addr().(*net.TCPAddr).AddrPort()
	}
	h := startBare(t, cfg)
	h.makeSlot()
	return h
}

// startBare starts an agent without a slot of ours.
func startBare(t *testing.T, cfg Config) *host {
	t.Helper()
	nettest.NeedRoot(t)
	dir := t.TempDir()
	cfg.Listen, cfg.RunDir, cfg.SeriesGrace, cfg.MetricsDetail = "127.0.0.1:0", dir, never, true
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &host{t: t, agent: a, client: httpapi.Client{BaseURL: "http://" + a.Addr().String()},
		dir: registry.Dir(dir), stop: cancel, done: make(chan error, 1)}
	go func() { h.done <- a.Run(ctx) }()
	t.Cleanup(h.end)
	return h
}

// end stops the agent; it may be called twice.
func (h *host) end() {
	h.stop()
	if h.done == nil {
		return
	}
	select {
	case err := <-h.done:
		if err != nil {
			h.t.Error(err)
		}
	case <-time.After(patience):
		h.t.Error("the agent does not stop")
	}
	h.done = nil
}

func (h *host) makeSlot() { h.makeSlotOf(1) }

func (h *host) makeSlotOf(index int) {
	ns := nettest.Netns(h.t)
	cookie, err := netns.CookieOf(ns)
	if err != nil {
		h.t.Fatal(err)
	}
	me, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		h.t.Fatal(err)
	}
	nettest.Tap(h.t, ns, "tap0")
	addAddr(h.t, ns, "tap0", netip.MustParseAddr("10.12.0.3"), 32)
	nettest.In(h.t, ns, func() error {
		relay, err := net.Listen("tcp", "10.12.0.3:49983")
		if err != nil {
			return err
		}
		h.t.Cleanup(func() { relay.Close() })
		h.relay = relay
		return nil
	})
	h.slot = registry.Slot{Index: index, Netns: ns, Cookie: cookie, HostVeth: "", Tap: "tap0",
		VpeerIP: "10.12.0.3", GuestIP: "169.254.0.21", Owner: me}
	h.put()
}

func (h *host) put() {
	if err := h.dir.Put(h.slot); err != nil {
		h.t.Fatal(err)
	}
}

// bind writes the record of a sandbox whose VMM is this test.
func (h *host) bind(state registry.State) { h.bindTo(state, h.slot.Owner) }

// bindTo writes the record of a sandbox of that VMM.
func (h *host) bindTo(state registry.State, vmm proc.Process) {
	h.slot.Sandbox = &registry.Sandbox{ID: "itest", Name: "tested", TemplateID: "base", State: state, VMM: "test",
		VMMProcess: vmm, Shape: registry.Relay, CreatedAt: time.Now()}
	h.put()
}

// until waits for the slot to satisfy ok.
func (h *host) until(what string, ok func(path.Slot) bool) path.Slot {
	h.t.Helper()
	var last path.Slot
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		slots, err := h.client.Paths(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		for _, s := range slots {
			if s.Cookie == h.slot.Cookie {
				if last = s; ok(s) {
					return s
				}
			}
		}
	}
	h.t.Fatalf("%s: not so after %v; last %+v", what, patience, last)
	return last
}

func (h *host) metrics() string {
	h.t.Helper()
	resp, err := http.Get(h.client.BaseURL + "/metrics")
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		h.t.Fatalf("%s: %v", resp.Status, err)
	}
	return string(b)
}

func (h *host) hasLine(line string) {
	h.t.Helper()
	if m := h.metrics(); !strings.Contains(m, line+"\n") {
		h.t.Errorf("no line %q in /metrics; of this namespace it has:\n%s", line, grep(m, h.slot.Netns))
	}
}

func grep(text, word string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if strings.Contains(l, word) {
			b.WriteString(l)
		}
	}
	return b.String()
}

func code(s path.Slot) string {
	if len(s.Diagnosis.Findings) == 0 {
		return ""
	}
	return s.Diagnosis.Findings[0].Code
}

// A slot's life: idle without a fault, booting without a finding, broken with the
// right cause as the facts change, and gone from the metrics with its namespace.
func TestSlotLife(t *testing.T) {
	// Not beside others: this process is their VMM too, and would hold their taps.
	h := start(t)
	h.until("idle, no carrier", func(s path.Slot) bool {
		return s.Diagnosis.State == path.Idle && s.Device.Carrier == path.No && s.Traffic != nil
	})
	h.hasLine(fmt.Sprintf(`tapwatch_network_carrier{device="tap0",netns="%s",sandbox_id=""} 0`, h.slot.Netns))
	h.hasLine(fmt.Sprintf(`tapwatch_slot_bound{device="tap0",netns="%s",sandbox_id=""} 0`, h.slot.Netns))
	if m := h.metrics(); strings.Contains(grep(m, h.slot.Netns), "tapwatch_finding") {
		t.Error("an idle slot has a finding")
	}

	h.bind(registry.Booting)
	h.until("booting", func(s path.Slot) bool { return s.Diagnosis.State == path.Booting && code(s) == "" })
	h.bind(registry.Failed)
	h.until("the VMM (this test) runs and holds nothing", func(s path.Slot) bool { return code(s) == "vmm-not-attached" })
	h.hasLine(fmt.Sprintf(`tapwatch_finding{code="vmm-not-attached",hop="tap",netns="%s",sandbox_id="itest",severity="critical"} 1`, h.slot.Netns))

	tap := nettest.AttachTap(t, h.slot.Netns, "tap0")
	s := h.until("carrier, held by this test", func(s path.Slot) bool {
		return s.Device.Carrier == path.Yes && len(s.Device.Holders) == 1 && code(s) != "vmm-not-attached"
	})
	// The test opened the tap inside its namespace and sits outside.
	if held := s.Device.Holders[0]; held.PID != os.Getpid() || held.SameNS || held.SandboxID != "itest" {
		t.Errorf("held by %+v, want %d of another namespace, which is the sandbox's VMM", held, os.Getpid())
	}
	h.hasLine(fmt.Sprintf(`tapwatch_tap_holders{device="tap0",netns="%s",sandbox_id="itest"} 1`, h.slot.Netns))
	h.hasLine(fmt.Sprintf(`tapwatch_tap_holders_elsewhere{device="tap0",netns="%s",sandbox_id="itest"} 1`, h.slot.Netns))
	h.hasLine(fmt.Sprintf(`tapwatch_network_carrier{device="tap0",netns="%s",sandbox_id="itest"} 1`, h.slot.Netns))

	h.slot.Sandbox.VMMProcess = proc.Process{PID: 1 << 22, Start: 1} // above pid_max: nobody's
	h.put()
	tap.Close()
	h.until("lost, and the VMM is gone", func(s path.Slot) bool { return code(s) == "vmm-exited" })

	h.relay.Close()
	h.until("no relay", func(s path.Slot) bool { return code(s) == "relay-not-listening" })
	if err := netns.Delete(h.slot.Netns); err != nil {
		t.Fatal(err)
	}
	h.untilGone()
	h.hasCountersOnly("itest")
	h.graceEnds()
	if left := grep(h.metrics(), h.slot.Netns); left != "" {
		t.Errorf("series outlive the namespace and their grace:\n%s", left)
	}
}

// untilGone waits until the slot is known no more.
func (h *host) untilGone() {
	h.t.Helper()
	nettest.Eventually(h.t, "the slot gone", func() bool {
		for _, s := range h.agent.Slots() {
			if s.Cookie == h.slot.Cookie {
				return false
			}
		}
		return true
	})
}

// hasCountersOnly sees that of a sandbox counters are told, and nothing else.
func (h *host) hasCountersOnly(sandbox string) {
	h.t.Helper()
	of := grep(h.metrics(), fmt.Sprintf("sandbox_id=%q", sandbox))
	if of == "" {
		h.t.Error("its counters went with it")
	}
	for line := range strings.Lines(of) {
		if name, _, _ := strings.Cut(line, "{"); !strings.HasSuffix(name, "_total") {
			h.t.Errorf("a state of what is gone: %s", line)
		}
	}
}

// The event of a lost carrier comes by itself, with its time, to a subscriber.
func TestCarrierEvents(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.bind(registry.Running)
	h.until("bound", func(s path.Slot) bool { return s.Sandbox != nil && s.Device.Exists == path.Yes })
	got := make(chan path.Event, 64)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		_ = h.client.Events(ctx, httpapi.KeptAndNew, func(e path.Event, _ string) {
			// Slots of other tests are told of too.
			if e.Netns == h.slot.Netns && slices.Contains([]path.EventKind{path.CarrierUp, path.CarrierLost, path.TapGone}, e.Kind) {
				got <- e
			}
		})
	}()
	next := func(want path.EventKind, since time.Time) {
		t.Helper()
		select {
		case e := <-got:
			if e.Kind != want || e.SandboxID != "itest" || e.Netns != h.slot.Netns || e.Time.Before(since) {
				t.Fatalf("event %+v, want %s of itest in %s after %v", e, want, h.slot.Netns, since)
			}
		case <-time.After(patience):
			t.Fatalf("no %s event", want)
		}
	}
	before := time.Now()
	tap := nettest.AttachTap(t, h.slot.Netns, "tap0")
	next(path.CarrierUp, before)
	before = time.Now()
	tap.Close()
	next(path.CarrierLost, before)
	before = time.Now()
	h.onTap(netlink.LinkDel)
	next(path.TapGone, before) // its carrier is not lost twice
}

// A clean stop leaves no hook, no qdisc and no file.
func TestStopLeavesNothing(t *testing.T) {
	t.Parallel()
	h := start(t)
	h.until("hooked", func(s path.Slot) bool { return s.Traffic != nil })
	if _, err := New(Config{Listen: "127.0.0.1:0", RunDir: string(h.dir)}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second agent of the same run directory: %v, want ErrRunning", err)
	}
	if _, err := Cleanup(string(h.dir)); !errors.Is(err, ErrRunning) {
		t.Errorf("a cleanup beside a living agent: %v, want ErrRunning", err)
	}
	alone := len(h.filters()) == 2 // the agents of other tests see this tap too
	h.end()
	if done, err := Cleanup(string(h.dir)); done.Own != 0 || err != nil {
		t.Errorf("hooks are left on %d taps, %v", done.Own, err)
	}
	if alone && len(h.filters()) == 0 && hasClsact(t, h.slot.Netns, "tap0") {
		t.Error("clsact is left on the tap")
	}
	left, err := filepath.Glob(filepath.Join(string(h.dir), "*"))
	if err != nil || len(left) != 1 || filepath.Base(left[0]) != "slots" {
		t.Errorf("left behind: %v %v, want only the launcher's slots", left, err)
	}
}

func TestBadConfig(t *testing.T) {
	nettest.NeedRoot(t)
	busy, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	_, err = New(Config{Listen: busy.Addr().String(), RunDir: dir})
	if err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("port in use: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Without privileges the error says which are missing.
func TestMissingPrivilegesAreNamed(t *testing.T) {
	nettest.NeedRoot(t)
	err := withoutCapabilities(func() error { return needPrivileges(probe.ModeTC) })
	if err == nil || !strings.Contains(err.Error(), "CAP_BPF") || !strings.Contains(err.Error(), "CAP_NET_BROADCAST") {
		t.Errorf("got %v, want the names of what is missing", err)
	}
}

// withoutCapabilities runs fn on a thread that has none and dies with it.
func withoutCapabilities(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&hdr, &none[0]); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}
