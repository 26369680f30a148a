package agent

import (
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// Without an agent the kernel is read once, and left as it was.
func TestLook(t *testing.T) {
	// Not beside others: this process is their VMM too, and would hold their taps.
	nettest.NeedRoot(t)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	h := &host{t: t, dir: registry.Dir(t.TempDir())}
	h.makeSlot()
	h.bind(registry.Running)
	look := func() path.Slot {
		t.Helper()
		slots, err := Look(t.Context(), Config{RunDir: string(h.dir), Proxy: proxy.Addr().(*net.TCPAddr).AddrPort(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range slots {
			if s.Cookie == h.slot.Cookie {
				return s
			}
		}
		t.Fatalf("the slot is not among %d", len(slots))
		return path.Slot{}
	}
	if s := look(); code(s) != "vmm-not-attached" || s.Proxy.Listening != path.Yes || s.Relay.Listening != path.Yes || s.Traffic != nil {
		t.Errorf("nobody holds the tap: %s, proxy %s, relay %s, traffic %v", code(s), s.Proxy.Listening, s.Relay.Listening, s.Traffic)
	}
	tap := nettest.AttachTap(t, h.slot.Netns, "tap0")
	defer tap.Close()
	s := look() // the tap has no address, so there is no way to the guest
	if s.Device.Carrier != path.Yes || len(s.Device.Holders) != 1 || s.Health.Time.IsZero() || s.Health.Connected || s.Diagnosis.State == path.OK {
		t.Errorf("held, without a guest: %+v, %+v, %s", s.Device, s.Health, s.Diagnosis.State)
	}
	if done, err := Cleanup(string(h.dir)); done.Own != 0 || err != nil { // the agents of other tests see this tap too
		t.Errorf("a look put hooks on %d taps, %v", done.Own, err)
	}
}

// TestLookAtOneThatComesUp: a look takes seconds where a guest is silent. What a
// sandbox said while it booted is no fault of one that runs since.
func TestLookAtOneThatComesUp(t *testing.T) {
	l := startLine(t, Config{})
	l.hangs.Store(true)
	l.bind(registry.Booting)
	l.until("booting", func(s path.Slot) bool { return s.Sandbox != nil && s.Sandbox.Booting })
	go func() {
		for l.waits.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		l.hangs.Store(false)
		l.bind(registry.Running)
	}()
	slots, err := Look(t.Context(), Config{RunDir: string(l.dir), Proxy: l.front, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(slots, func(s path.Slot) bool { return s.Cookie == l.slot.Cookie })
	if i < 0 {
		t.Fatalf("the slot is not among %d", len(slots))
	}
	if s := slots[i]; s.Diagnosis.State != path.OK || len(s.Diagnosis.Findings) > 0 {
		t.Errorf("%s: %+v, health %+v", s.Diagnosis.State, s.Diagnosis.Findings, s.Health)
	}
}
