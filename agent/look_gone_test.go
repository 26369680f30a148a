package agent

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// A namespace that goes in the middle of a look is told as gone, or as what was
// still seen of it: no error, no hang, and nothing of it is called well.
func TestLookWhileANamespaceGoes(t *testing.T) {
	nettest.NeedRoot(t)
	proxy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	seen := 0
	for n := range 8 {
		h := &host{t: t, dir: registry.Dir(t.TempDir())}
		h.makeSlot()
		h.bind(registry.Running)
		h.relay.Close() // it would keep the namespace
		time.AfterFunc(time.Duration(n)*120*time.Millisecond, func() {
			_ = netns.Delete(h.slot.Netns)
		})
		slots, err := Look(t.Context(), Config{RunDir: string(h.dir), Proxy: proxy.Addr().(*net.TCPAddr).AddrPort(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("gone after %d ms: %v", 120*n, err)
		}
		for _, s := range slots {
			if s.Cookie == h.slot.Cookie {
				seen++
				if s.Diagnosis.State == path.OK {
					t.Errorf("gone after %d ms, and well: %+v", 120*n, s.Diagnosis)
				}
			}
		}
	}
	t.Logf("seen in %d of 8 looks", seen)
}
