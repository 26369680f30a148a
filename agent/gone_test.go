package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
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
	return slices.ContainsFunc(h.agent.counters.all(), func(d netns.Device) bool { return d.Netns == h.slot.Cookie })
}
