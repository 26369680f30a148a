package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapwatch/agent/path"
	"tapwatch/agent/trace"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
)

// What is right of a fault that nobody thought of is measured: packets are captured at
// every device of the path, and the first that the requests, or their answers, do not come
// to says where the path breaks.

// step is one thing that must be seen on the way of a request over a connection of its
// own, in this order, and where the path may be broken if it is not.
type step struct {
	point  int // 0: the host's veth, 1: eth0, 2: the tap
	answer bool
	syn    bool
	hops   []path.Hop
}

// steps are those of a path of each shape. Where the last that was seen is an answer, the
// next request may not have been sent because that did not arrive.
var steps = map[registry.Shape][]step{
	registry.Relay: {
		{0, false, true, []path.Hop{path.Relay}},
		{1, false, true, []path.Hop{path.Relay}},
		{1, true, true, []path.Hop{path.Relay}},
		{0, true, true, []path.Hop{path.Relay}},
		{0, false, false, []path.Hop{path.Proxy, path.Relay}},
		{1, false, false, []path.Hop{path.Relay}},
		{2, false, true, []path.Hop{path.Tap}},
		{2, true, true, []path.Hop{path.Guest, path.Envd}},
		{2, false, false, []path.Hop{path.Relay, path.Tap}},
		{2, true, false, []path.Hop{path.Guest, path.Envd}},
		{1, true, false, []path.Hop{path.Relay}},
		{0, true, false, []path.Hop{path.Relay}},
	},
	registry.DNAT: { // one connection, which the namespace hands on
		{0, false, true, []path.Hop{path.Relay}},
		{1, false, true, []path.Hop{path.Relay}},
		{2, false, true, []path.Hop{path.Relay, path.Tap}},
		{2, true, true, []path.Hop{path.Guest, path.Envd}},
		{1, true, true, []path.Hop{path.Relay}},
		{0, true, true, []path.Hop{path.Relay}},
		{0, false, false, []path.Hop{path.Proxy, path.Relay}},
		{1, false, false, []path.Hop{path.Relay}},
		{2, false, false, []path.Hop{path.Relay, path.Tap}},
		{2, true, false, []path.Hop{path.Guest, path.Envd}},
		{1, true, false, []path.Hop{path.Relay}},
		{0, true, false, []path.Hop{path.Relay}},
	},
	registry.Fused: { // one connection, from the namespace itself
		{2, false, true, []path.Hop{path.Tap}},
		{2, true, true, []path.Hop{path.Guest, path.Envd}},
		{2, false, false, []path.Hop{path.Proxy, path.Tap}},
		{2, true, false, []path.Hop{path.Guest, path.Envd}},
	},
}

const synFlag = 2 // of TCP

// ofNew returns the segments of connections that were seen from their begin on.
func ofNew(frames []trace.Frame, shape registry.Shape) (segments []trace.Frame) {
	// What tells connections apart: before the relay or behind it, and the port.
	leg := func(f trace.Frame) [2]int {
		if shape == registry.Relay {
			return [2]int{f.Point / 2, int(f.Client)}
		}
		return [2]int{0, int(f.Client)}
	}
	began := map[[2]int]bool{}
	for _, f := range frames {
		if f.ARP == 0 && !f.Answer && f.Out && f.Flags&synFlag != 0 {
			began[leg(f)] = true
		}
	}
	for _, f := range frames {
		if f.ARP == 0 && began[leg(f)] {
			segments = append(segments, f)
		}
	}
	return segments
}

// arpUnanswered says whether the guest was asked for by ARP, in vain.
func arpUnanswered(frames []trace.Frame) bool {
	atTap := func(op uint16, out bool) bool {
		return slices.ContainsFunc(frames, func(f trace.Frame) bool { return f.ARP == op && f.Out == out && f.Point == 2 })
	}
	return atTap(1, true) && !atTap(2, false)
}

// brokenAt is where the path is broken, by the frames of the capture: one of the hops that
// it returns. Where all steps were seen that is the proxy, if any.
func brokenAt(frames []trace.Frame, shape registry.Shape) []path.Hop {
	segments := ofNew(frames, shape)
	for _, s := range steps[shape] {
		seen := slices.ContainsFunc(segments, func(f trace.Frame) bool {
			return f.Point == s.point && f.Answer == s.answer && (f.Flags&synFlag != 0) == s.syn && (s.syn || f.Len > 0)
		})
		switch {
		case seen:
		case s.point == 2 && s.syn && !s.answer && arpUnanswered(frames):
			return []path.Hop{path.Guest}
		default:
			return s.hops
		}
	}
	if shape == registry.Fused { // past the tap, in the namespace that the proxy asks from
		return []path.Hop{path.Proxy, path.Tap}
	}
	return []path.Hop{path.Proxy}
}

const (
	// capturing is how long packets are captured, once the fault has taken.
	capturing = 3 * time.Second
	// randomClients ask at a time, and each waits as long as that for an answer.
	randomClients  = 4
	randomPatience = 2 * time.Second
)

// judgeRandom waits until the verdict is what requests and packets show, for as long as the
// agent may take.
func (w *World) judgeRandom(ctx context.Context, b *Box, made time.Time, r *Result) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(settling):
	}
	// These clients alone: others' requests may be shorter, or pass.
	b.stop()
	asking, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		b.resume(context.WithoutCancel(ctx))
	}()
	began := time.Now()
	for i := range randomClients {
		go func() {
			time.Sleep(time.Duration(i) * askEvery / randomClients)
			ask(asking, b.client(), randomPatience, b.got.note)
		}()
	}
	ns := netns.Path(b.Slot.Netns())
	c, err := trace.Open([]trace.Point{{Name: "veth", Device: b.Slot.HostVeth()}, {Name: "eth0", Netns: ns, Device: e2b.Vpeer}, {Name: "tap", Netns: ns, Device: b.Slot.Tap()}}, e2b.EnvdPort)
	if err != nil {
		return err
	}
	defer c.Close()
	frames, err := c.Read(ctx, capturing)
	if err != nil {
		return err
	}
	hops := brokenAt(frames, b.Path)
	var right time.Time
	err = w.until(ctx, func() (bool, error) {
		s, err := b.seen(ctx)
		if err != nil || s == nil {
			right = time.Time{}
			return false, err
		}
		asked, answered := b.got.fare(began)
		r.Expected, r.Rule = expected(asked, answered, hops, s.Diagnosis)
		r.Named = codes(s.Diagnosis)
		switch {
		case r.Rule != "" || r.Expected == "":
			right = time.Time{}
		case right.IsZero():
			right = time.Now()
		}
		r.Right = !right.IsZero() && time.Since(right) >= holdTime
		return r.Right, nil
	})
	r.Seconds = time.Since(made).Seconds()
	if r.Right {
		r.Seconds = right.Sub(made).Seconds()
	}
	if errors.Is(err, errLate) {
		return nil
	}
	return err
}

// expected says what verdict is right for what clients got, and how a verdict is not;
// both are empty where too little is known of the clients.
func expected(asked, answered int, hops []path.Hop, d path.Diagnosis) (want, wrong string) {
	switch {
	case asked < ruleLeast:
		return "", ""
	case answered == asked:
		want = "not broken"
		if d.State == path.Broken {
			wrong = "all requests are answered, and the path is broken"
		}
	case answered == 0:
		var names []string
		for _, h := range hops {
			names = append(names, string(h))
		}
		want = "broken at " + strings.Join(names, " or ")
		if d.State != path.Broken {
			wrong = "no request is answered, and the path is " + string(d.State)
		} else if !slices.Contains(hops, d.BrokenAt()) {
			wrong = "it is called broken at " + string(d.BrokenAt())
		}
	default:
		want = "something found"
		if d.State == path.OK && len(d.Findings) == 0 {
			wrong = fmt.Sprintf("%d of %d requests are answered, and nothing is found", answered, asked)
		}
	}
	return want, wrong
}
