package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"tapwatch/internal/registry"
)

// Records resolve by the records of whatever launcher runs on the host, for a
// proxy that stands alone. Where sandboxes have relays they reach the ports that
// those listen on, else any.
type Records struct {
	dir         registry.Dir
	waitBooting time.Duration
	forget      func(sandboxID string)
	log         *slog.Logger

	mu      sync.Mutex
	reader  *registry.Reader
	known   map[string]registry.Slot // by sandbox
	failed  error                    // of the last look
	changed chan struct{}            // closed at the next change
}

// NewRecords returns the records of a directory; forget is told of each sandbox
// that has gone. A request for a sandbox that boots waits as long as waitBooting.
// They are kept up to date while Run runs.
func NewRecords(dir registry.Dir, waitBooting time.Duration, forget func(sandboxID string)) *Records {
	return &Records{
		dir: dir, waitBooting: waitBooting, forget: forget, log: slog.Default(),
		reader: registry.NewReader(dir), known: make(map[string]registry.Slot), changed: make(chan struct{}),
	}
}

// Resolve is a Resolver.
func (r *Records) Resolve(ctx context.Context, id string, port int) (Target, error) {
	ctx, cancel := context.WithTimeout(ctx, r.waitBooting)
	defer cancel()
	for {
		r.look() // it may be younger than what we were told
		s, changed, err := r.find(id)
		if err != nil {
			return Target{}, err
		}
		if s.Sandbox.State == registry.Booting {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
			}
		}
		t, err := targetOf(s, port)
		t.Keep = s.Sandbox.State != registry.Booting
		return t, err
	}
}

// find returns the slot of a sandbox, or of the only one.
func (r *Records) find(id string) (s registry.Slot, changed <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, ok := r.known[id]; ok {
		return s, r.changed, nil
	}
	switch {
	case id == "" && len(r.known) > 1:
		return s, nil, ErrAmbiguous
	case id == "" && len(r.known) == 1:
		for _, s = range r.known {
		}
		return s, r.changed, nil
	case r.failed != nil: // it may be in a damaged record
		return s, nil, r.failed
	}
	return s, nil, ErrUnknownSandbox
}

// look reads what has changed, and forgets what has gone.
func (r *Records) look() {
	for _, id := range r.update() {
		r.forget(id)
	}
}

func (r *Records) update() (gone []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var changed bool
	if changed, r.failed = r.reader.Scan(); !changed {
		return nil
	}
	now := make(map[string]registry.Slot)
	for _, s := range r.reader.Slots() { // a damaged record hides no other
		if s.Sandbox != nil {
			now[s.Sandbox.ID] = s
		}
	}
	for id, before := range r.known {
		if s, ok := now[id]; !ok || !samePlace(before, s) {
			gone = append(gone, id)
		}
	}
	r.known = now
	close(r.changed)
	r.changed = make(chan struct{})
	return gone
}

func samePlace(a, b registry.Slot) bool {
	return a.Netns == b.Netns && a.Cookie == b.Cookie && a.VpeerIP == b.VpeerIP && a.GuestIP == b.GuestIP && a.HostIP == b.HostIP &&
		a.Sandbox.Shape == b.Sandbox.Shape
}

// targetOf reads from a record how its sandbox is reached.
func targetOf(s registry.Slot, port int) (Target, error) {
	t := Target{SandboxID: s.Sandbox.ID}
	if s.Sandbox.State == registry.Failed && s.Sandbox.Reason != "" {
		t.Why = func() error { return errors.New(s.Sandbox.Reason) }
	}
	addr := s.VpeerIP
	switch s.Sandbox.Shape {
	case registry.Fused:
		t.Netns, t.Direct, addr = s.Netns, true, s.GuestIP
	case registry.DNAT:
		t.Direct, addr = true, s.HostIP
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return Target{}, fmt.Errorf("record of slot %d: %w", s.Index, err)
	}
	t.Addr = netip.AddrPortFrom(ip, uint16(port))
	return t, nil
}
