package flow

import (
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/nettest"
)

// A connect that fails is told of the hop that did not answer, with what the kernel
// said, and traffic shows that hop as broken and those before it as well.
func TestFailedConnects(t *testing.T) {
	quick := proxy(t, "go-readwrite")
	for _, c := range []struct {
		name  string
		make  func(*testing.T, *line)
		hop   path.Hop
		errno unix.Errno
		good  []path.Hop // that had answered
	}{
		{"no relay", func(*testing.T, *line) {}, path.Relay, unix.ECONNREFUSED, nil},
		{"no envd", func(t *testing.T, l *line) {
			quick.Start(t, l.slot.Netns, l.slot.Vpeer, flowtest.Envd)
		}, path.Envd, unix.ECONNREFUSED, []path.Hop{path.Relay, path.Tap}},
		{"no VMM", func(t *testing.T, l *line) {
			quick.Start(t, l.slot.Netns, l.slot.Vpeer, flowtest.Envd)
			l.slot.VMM.Kill()
		}, path.Tap, unix.EHOSTUNREACH, []path.Hop{path.Relay}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := flowtest.NewHost(t)
			s := h.Slot(t)
			l := &line{host: h, slot: s, flow: watch(t, h, s)}
			quick.Start(t, h.Netns, h.Front, s.Vpeer)
			c.make(t, l)
			if _, err := flowtest.Dial(t, h.Netns, h.Front, 1)[0].Ask(flowtest.Request{}); err == nil {
				t.Fatal("an answer came")
			}
			stats := read(t, l.flow)
			if len(stats.Failed) != 1 || stats.Failed[0] != (flow.Failed{Hop: c.hop, Errno: c.errno, Count: 1}) {
				t.Errorf("%+v", stats.Failed)
			}
			all, err := l.flow.Seen()
			if err != nil {
				t.Fatal(err)
			}
			seen := all[s.Cookie]
			for i, hop := range flow.Hops {
				good := false
				for _, g := range c.good {
					good = good || g == hop
				}
				if seen.Good[i].IsZero() == good || seen.Bad[i].IsZero() == (hop == c.hop) {
					t.Errorf("%s was last seen well at %v, broken at %v", hop, seen.Good[i], seen.Bad[i])
				}
			}
		})
	}
}

// Connections are counted as they come, wait for an answer, and go.
func TestConnections(t *testing.T) {
	l := lineOf(t, proxy(t, "go-readwrite"), proxy(t, "go-copy"))
	const n = 7
	flowtest.Freeze(t, l.slot.VMM)
	conns := flowtest.Dial(t, l.host.Netns, l.host.Front, n)
	all := func(want map[string]int64) func() bool {
		return func() bool {
			is := map[string]int64{}
			for _, c := range read(t, l.flow).Connections {
				if c.Now != 0 {
					is[c.Layer+" "+c.Side+" "+c.State] = c.Now
				}
			}
			for end := range want {
				if is[end] != want[end] {
					return false
				}
			}
			return len(is) == len(want)
		}
	}
	nettest.Eventually(t, "the guest is waited for", all(map[string]int64{
		"proxy front established": n, "proxy back established": n, "relay front established": n, "relay back connecting": n,
	}))
	flowtest.Thaw(t, l.slot.VMM)
	nettest.Eventually(t, "all are open", all(map[string]int64{
		"proxy front established": n, "proxy back established": n, "relay front established": n, "relay back established": n,
	}))
	for _, c := range conns {
		c.Close()
	}
	nettest.Eventually(t, "none is left", all(nil))
}
