// Package flow holds agent/flow to the truth: real clients, every proxy on either
// layer, and what the server at the end saw.
package flow

import (
	"os"
	"testing"

	"tapwatch/agent/flow"
	"tapwatch/internal/flowtest"
)

func TestMain(m *testing.M) { os.Exit(flowtest.Main(m)) }

// watch measures the slots of a host until the test ends.
func watch(t testing.TB, h *flowtest.Host, slots ...*flowtest.Slot) *flow.Flow {
	t.Helper()
	f, err := flow.Load(flow.Config{ProxyPort: h.Front.Port()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, s := range slots {
		if err := f.Add(pathOf(t, s)); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func pathOf(t testing.TB, s *flowtest.Slot) flow.Path {
	t.Helper()
	return flow.Path{Netns: s.Cookie, Tap: s.Tap(t), Guest: flowtest.Envd.Addr(), Vpeer: s.Vpeer.Addr()}
}
