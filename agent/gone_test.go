package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/discover"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// What a tap counted between the last reading and its end is told after it.
func TestLastCountersAreTold(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*host){
		"the namespace is deleted": (*host).deleteNetns,
		"the sandbox goes":         func(h *host) { h.slot.Sandbox = nil; h.put() },
		"another takes the slot":   func(h *host) { h.slot.Sandbox.ID = "iother"; h.put() },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			h := startWith(t, Config{Every: time.Hour}) // counters are read at the end only
			h.bind(registry.Running)
			h.until("hooked", func(s path.Slot) bool { return s.Sandbox != nil && h.hooked() })
			tap := nettest.AttachTap(t, h.slot.Netns, "tap0")
			h.until("carrier", func(s path.Slot) bool { return s.Device.Carrier == path.Yes })
			frame := make([]byte, 10+60) // struct virtio_net_hdr comes first
			copy(frame[10:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
			for range 7 {
				if _, err := tap.Write(frame); err != nil {
					t.Fatal(err)
				}
			}
			tap.Close()
			last := h.until("carrier lost", func(s path.Slot) bool { return s.Device.Carrier == path.No })
			end(h)
			series := func(name string) string {
				return fmt.Sprintf(`tapwatch_network_%s{device="tap0",netns="%s",sandbox_id="itest"}`, name, h.slot.Netns)
			}
			nettest.Eventually(t, "the last frames told", func() bool {
				return strings.Contains(h.metrics(), series("receive_packets_total")+" 7\n")
			})
			h.untilUnbound("itest")
			h.hasCountersOnly("itest")
			h.hasLine(fmt.Sprintf("%s %d", series("carrier_changes_total"), last.Device.Ups+last.Device.Downs))
			h.graceEnds()
			if left := grep(h.metrics(), `sandbox_id="itest"`); left != "" {
				t.Errorf("left when the grace is over:\n%s", left)
			}
		})
	}
}

// untilUnbound waits until the slot is no sandbox's of that id. A namespace may
// lose its name a moment before it goes: it is the sandbox's for that long.
func (h *host) untilUnbound(sandbox string) {
	h.t.Helper()
	nettest.Eventually(h.t, sandbox+" gone", func() bool {
		return !slices.ContainsFunc(h.agent.Slots(), func(s path.Slot) bool {
			return s.Cookie == h.slot.Cookie && s.Sandbox != nil && s.Sandbox.ID == sandbox
		})
	})
}

// hooked says whether the slot's tap carries hooks.
func (h *host) hooked() bool {
	h.agent.model.mu.Lock()
	defer h.agent.model.mu.Unlock()
	s := h.agent.model.slots[h.slot.Cookie]
	return s != nil && s.hooks != nil
}

func TestGone(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	slotOf := func(c netns.Cookie, sandbox string) *slot {
		e := &discover.Entry{Namespace: discover.Namespace{Cookie: c, Name: fmt.Sprintf("ns-%d", c)},
			Binding: &discover.Binding{SandboxID: sandbox, Idle: sandbox == "", Tap: "tap0"}}
		return &slot{entry: e, name: e.Name, tap: &link.Link{UpCount: 2, DownCount: 1}, hooks: &hooked{counters: probe.Counters{Created: 1, ReceivePackets: 5}}}
	}
	m := &model{grace: 10 * time.Second}
	keep := func(s *slot, second int) *gone { return m.keep(s, s.entry.Binding, at(second)) }
	shown := func(living ...*path.Slot) string {
		var all []string
		for _, v := range m.goneViews(living) {
			all = append(all, fmt.Sprintf("%s:%d:%d", v.Sandbox.ID, v.Traffic.ReceivePackets, v.Device.Ups+v.Device.Downs))
		}
		return strings.Join(all, " ")
	}
	if g := keep(slotOf(1, ""), 0); g != nil || shown() != "" {
		t.Errorf("an idle slot's counters are kept: %q", shown())
	}
	g := keep(slotOf(2, "i2"), 1)
	if shown() != "i2:5:3" {
		t.Errorf("kept %q", shown())
	}
	g.last(probe.Counters{}) // could not be read any more
	if shown() != "i2:5:3" {
		t.Errorf("unread counters are taken for %q", shown())
	}
	g.last(probe.Counters{Created: 1, ReceivePackets: 8})
	if shown() != "i2:8:3" {
		t.Errorf("the last counters are %q", shown())
	}
	keep(slotOf(2, "i2"), 5) // once more under the same labels
	if shown() != "i2:5:3" {
		t.Errorf("two of the same labels are %q", shown())
	}
	facts := path.Facts{Netns: "ns-2", Sandbox: &path.Sandbox{ID: "i2"}, Device: path.Device{Name: "tap0", Exists: path.Yes}}
	if got := shown(&path.Slot{Facts: facts}); got != "" {
		t.Errorf("beside a living one of the same labels: %q", got)
	}
	for _, c := range []struct {
		second int
		want   string
	}{{11, "i2:5:3"}, {14, "i2:5:3"}, {15, ""}} {
		m.forgetGone(at(c.second))
		if shown() != c.want {
			t.Errorf("after %d s: %q, want %q", c.second, shown(), c.want)
		}
	}
	for i := range goneMost + 10 {
		keep(slotOf(netns.Cookie(i), fmt.Sprintf("i%d", i)), 20)
	}
	if n := len(m.gone); n != goneMost || m.gone[0].view.Sandbox.ID != "i10" {
		t.Errorf("%d kept, from %s on", n, m.gone[0].view.Sandbox.ID)
	}
	m.grace = -1
	if keep(slotOf(3, "i3"), 20) != nil {
		t.Error("kept without a grace")
	}
}
