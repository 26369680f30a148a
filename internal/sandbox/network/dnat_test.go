package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// slotWithGuest is a slot whose guest says who called on port 49983.
func slotWithGuest(t *testing.T) Slot {
	t.Helper()
	s := freeSlot(t)
	if err := Create(s); err != nil {
		t.Fatal(err)
	}
	guest := nettest.Guest(t, s.Netns(), s.Tap(), s.GuestMAC(), s.GuestIP().AsSlice(), s.TapIP().AsSlice())
	var l net.Listener
	nettest.In(t, guest, func() (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:49983")
		return err
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String()) // the test judges
			c.Close()
		}
	}()
	return s
}

func callerSeen(t *testing.T, dial func(context.Context) (net.Conn, error)) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func conntrackCount(t *testing.T, s Slot) string {
	t.Helper()
	var count string
	nettest.In(t, s.Netns(), func() error {
		b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
		if errors.Is(err, os.ErrNotExist) {
			count = "0" // the kernel does not track at all
			return nil
		}
		count = strings.TrimSpace(string(b))
		return err
	})
	return count
}

// Three ways lead to one guest. Only DNAT needs the kernel to track connections:
// the namespaces of the others have no rule that would have it do so, and each
// entry would stay for minutes.
func TestWaysToTheGuest(t *testing.T) {
	s := slotWithGuest(t)
	to := netip.AddrPortFrom(s.GuestIP(), e2b.EnvdPort)
	for range 3 {
		got := callerSeen(t, func(ctx context.Context) (net.Conn, error) { return netns.DialTCP(ctx, s.Netns(), to) })
		if got != s.TapIP().String() {
			t.Errorf("fused: the guest was called by %q", got)
		}
	}
	if n := conntrackCount(t, s); n != "0" {
		t.Errorf("%s connections are tracked though no rule needs it", n)
	}
	if err := EnableDNAT(s, false); err != nil {
		t.Fatal(err)
	}
	var d net.Dialer
	got := callerSeen(t, func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp4", netip.AddrPortFrom(s.HostIP(), e2b.EnvdPort).String())
	})
	if got != s.VethIP().String() {
		t.Errorf("dnat: the guest was called by %q", got)
	}
	if n := conntrackCount(t, s); n == "0" {
		t.Error("no connection is tracked: this test's count shows nothing")
	}
	_, err := d.DialContext(t.Context(), "tcp4", netip.AddrPortFrom(s.HostIP(), 9).String())
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Error("a port that is closed:", err)
	}
}

func TestEnableDNATNeedsTheSlot(t *testing.T) {
	if err := EnableDNAT(freeSlot(t), true); !errors.Is(err, netns.ErrNotExist) {
		t.Error(err)
	}
}

func TestShapes(t *testing.T) {
	for _, s := range registry.Launchable {
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
	}
	if err := registry.Shape("bridge").Validate(); err == nil || !strings.Contains(err.Error(), "must be relay, fused or dnat") {
		t.Error(err)
	}
}
