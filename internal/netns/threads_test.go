package netns_test

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"testing"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// However many connections are being waited for, no thread waits with them.
func TestDialTCPTakesNoThread(t *testing.T) {
	const dials = 100
	ns := nettest.Netns(t)
	silentPeer(t, ns)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{}, dials)
	before := threads(t)
	for i := range dials {
		go func() {
			if c, err := netns.DialTCP(ctx, ns, netip.MustParseAddrPort("192.0.2.2:9")); err == nil {
				c.Close()
			}
			done <- struct{}{}
		}()
		nettest.Eventually(t, "one more is being dialled", func() bool { return len(done) > 0 || dialling(t, ns) > i })
	}
	if n := threads(t) - before; n > dials/2 { // the runtime gives none back
		t.Errorf("%d threads more for %d dials", n, dials)
	}
	cancel()
	for range dials {
		<-done
	}
}

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(tasks)
}

// dialling counts the sockets of a namespace in state SYN_SENT.
func dialling(t *testing.T, ns string) int {
	t.Helper()
	n := 0
	nettest.In(t, ns, func() error {
		b, err := os.ReadFile("/proc/thread-self/net/tcp")
		n = bytes.Count(b, []byte(" 02 "))
		return err
	})
	return n
}
