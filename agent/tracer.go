package agent

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/path"
	"tapwatch/agent/probe"
	"tapwatch/agent/slots"
	"tapwatch/agent/trace"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// tracer finds where packets are lost, of the sandboxes whose requests fail. It listens
// at the devices of a path for a moment. It also sends one request itself, so that there
// are packets to see.
type tracer struct {
	slots  *slots.Slots
	hops   *hops
	health *health
	probe  *probe.Probe
	self   netns.Cookie // the agent's own namespace
	port   uint16
	log    *slog.Logger
}

func newTracer(cfg Config, s *slots.Slots, hops *hops, health *health, p *probe.Probe, self netns.Cookie, log *slog.Logger) *tracer {
	return &tracer{slots: s, hops: hops, health: health, probe: p, self: self, port: cfg.ServicePort, log: log.With("part", "tracer")}
}

const (
	// traceTick is how often the tracer asks for sandboxes whose requests fail.
	traceTick = 250 * time.Millisecond
	// traceIdle is how often it does where nothing is asked of any and nothing is wrong.
	traceIdle = time.Second
	// tracesAtOnce bounds the paths that the tracer listens at.
	tracesAtOnce = 4
	// traceLong is how long it listens at one path, at most. A kernel sends a SYN again
	// after a second.
	traceLong = 2200 * time.Millisecond
	// traceStep is how often it compares what it saw. The first loss ends the listening.
	traceStep = 300 * time.Millisecond
)

func (t *tracer) run(ctx context.Context) {
	if t.hops.flow == nil { // nothing shows that requests fail
		return
	}
	every := func() time.Duration {
		if t.slots.AnyTrouble() {
			return traceTick
		}
		return traceIdle
	}
	rounds(ctx, every, tracesAtOnce, t.round)
}

func (t *tracer) round(ctx context.Context, g *errgroup.Group, now time.Time) {
	for _, target := range t.slots.DueTraces(now, tracesAtOnce) {
		g.Go(func() error {
			loss := t.trace(ctx, target)
			t.slots.TakeLoss(target, loss, t.dropped(target, time.Now()))
			return nil
		})
	}
}

// trace listens at one path; nil: no loss was seen.
func (t *tracer) trace(ctx context.Context, target slots.Target) *path.Loss {
	w, ok := wayOf(target)
	if !ok {
		return nil
	}
	w.Began = time.Now()
	c, err := trace.Open(w.Points, t.port)
	if err != nil {
		t.log.Debug("where packets are lost is not known", "netns", target.Netns, "err", err)
		return nil
	}
	defer c.Close()
	if t.health.asks() && target.Addrs.Guest.IsValid() {
		asking, cancel := context.WithTimeout(ctx, traceLong)
		defer cancel()
		go t.health.ask(asking, slots.Question{Target: target, Way: slots.AsProxy})
	}
	for time.Since(w.Began) < traceLong {
		frames, err := c.Read(ctx, traceStep)
		if err != nil {
			t.log.Debug("where packets are lost is not known", "netns", target.Netns, "err", err)
			return nil
		}
		w.Waits = t.waits(target, w)
		if l := trace.Analyse(w, frames, time.Now()); l != nil {
			return l
		}
	}
	return nil
}

// waits says of each leg what waits there that began while it was listened and is not
// acknowledged.
func (t *tracer) waits(target slots.Target, w trace.Way) (all []trace.Waits) {
	t.hops.look()
	relay, guest := t.slots.Unacked(target, w.Began)
	for _, one := range []*path.Wait{relay, guest} {
		switch {
		case one == nil:
			all = append(all, trace.Nothing)
		case one.Connecting:
			all = append(all, trace.SYN)
		default:
			all = append(all, trace.Request)
		}
	}
	return all[len(all)-len(w.Legs):] // one leg is the one to the guest
}

const (
	// droppedLately is how old a drop may be that still says where requests are lost: a
	// kernel sends a SYN again after 1, 2 and 4 seconds.
	droppedLately = 10 * time.Second
	// droppedMost bounds what is said of one path.
	droppedMost = 8
)

// dropped is where the kernel dropped packets of a path lately, the most first.
func (t *tracer) dropped(target slots.Target, now time.Time) []path.Dropped {
	all, err := t.probe.PathDrops()
	if err != nil {
		t.log.Debug("where the kernel drops packets is not known", "err", err)
		return nil
	}
	return droppedOf(target, t.self, all, now)
}

// droppedOf picks the drops of one path. In its own namespace all are; in the host's those
// from and to the address that the host reaches it by.
func droppedOf(target slots.Target, self netns.Cookie, all []probe.PathDrop, now time.Time) (found []path.Dropped) {
	for _, d := range all {
		last, within := d.Last.Time(), d.Device.Netns == target.Key.Netns
		if now.Sub(last) > droppedLately || !within && d.Device.Netns != self {
			continue
		}
		if d.Device.Netns == self && d.Addr != target.Reached() {
			continue
		}
		at := "on the host"
		if d.Device.Netns != self {
			at = "in " + target.Netns
		}
		if d.Device == target.Key.Device {
			at = target.Tap + " " + at
		}
		found = append(found, path.Dropped{Since: d.First.Time(), Last: last, At: at, Back: d.Back, Reason: d.Reason, Function: d.Function, Count: d.Count})
	}
	slices.SortFunc(found, func(a, b path.Dropped) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.At, b.At), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Reason, b.Reason))
	})
	return found[:min(len(found), droppedMost)]
}

// wayOf is the devices that the packets of a path pass.
func wayOf(t slots.Target) (w trace.Way, ok bool) {
	if t.Tap == "" {
		return w, false
	}
	tap := trace.Point{Name: t.Tap + " in " + t.Netns, Hop: path.Tap, Netns: t.Path, Device: t.Tap}
	if t.Host {
		tap.Name, tap.Netns = t.Tap+" on the host", ""
	}
	if t.Host || t.Veth.Host == "" || t.Veth.Peer == "" || t.Shape == registry.Fused {
		w.Points = []trace.Point{tap}
		w.Legs = []trace.Leg{{Points: []int{0}, Asker: "the proxy", AskerHop: path.Tap, Asked: "the guest", AskedHop: path.Guest}}
		return w, true
	}
	w.Points = []trace.Point{
		{Name: t.Veth.Host + " on the host", Hop: path.Relay, Device: t.Veth.Host},
		{Name: t.Veth.Peer + " in " + t.Netns, Hop: path.Relay, Netns: t.Path, Device: t.Veth.Peer},
		tap,
	}
	// What comes back to the host's veth and not to the proxy's socket, the kernel has lost,
	// or refused: the proxy itself is well.
	if path.HasRelay(t.Shape) {
		w.Legs = []trace.Leg{
			{Points: []int{0, 1}, Asker: "the proxy", AskerHop: path.Relay, Asked: "the relay", AskedHop: path.Relay},
			{Points: []int{2}, Asker: "the relay", AskerHop: path.Relay, Asked: "the guest", AskedHop: path.Guest},
		}
	} else {
		w.Legs = []trace.Leg{{Points: []int{0, 1, 2}, Asker: "the proxy", AskerHop: path.Relay, Asked: "the guest", AskedHop: path.Guest}}
	}
	return w, true
}
