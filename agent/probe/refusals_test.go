package probe

import (
	"context"
	"testing"
	"time"

	"tapwatch/internal/netns"
)

// A refusal of a connection to envd is told at once, so is the first one taken after
// it, and both go on where an agent was killed and another has taken over.
func TestRefusalsAreTold(t *testing.T) {
	t.Parallel()
	killed := load(t)
	ns, d, f := tap(t)
	g := newGuest(t, ns, d, f)
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	refusals := func(p *Probe) {
		told, stop := hear(t, p)
		defer stop()
		answer := func(port int, flags byte) {
			connect(t, ns, port)
			g.sendTCP(g.syn(uint16(port)).reply(flags, 1))
		}
		answer(80, 0x14) // not envd's
		answer(49983, 0x14)
		is(t, told, d)
		time.Sleep(150 * time.Millisecond) // longer than what follows a refusal is not told
		answer(49983, 0x14)
		is(t, told, d)
		answer(49983, 0x12)
		is(t, told, d)
		answer(49983, 0x12) // as before
		select {
		case d := <-told:
			t.Errorf("told once more of %v", d)
		case <-time.After(50 * time.Millisecond):
		}
	}
	refusals(killed)
	if err := killed.Close(); err != nil {
		t.Fatal(err)
	}
	next := reload(t, killed.hooks.dir)
	if err := next.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	refusals(next)
	if err := next.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
}

// hear returns what is told until it is stopped.
func hear(t *testing.T, p *Probe) (told chan netns.Device, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan netns.Device, 16), make(chan error, 1)
	go func() { ended <- p.Refusals(ctx, func(d netns.Device) { told <- d }) }()
	return told, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func is(t *testing.T, told <-chan netns.Device, want netns.Device) {
	t.Helper()
	select {
	case got := <-told:
		if got != want {
			t.Errorf("told of %v, want %v", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatal("nothing was told")
	}
}
