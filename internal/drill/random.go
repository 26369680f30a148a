package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/agent/trace"
	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

// Faults that nobody thought of: what can be done to a path, at a random place, with
// random conditions. No check is expected. What is right is measured: packets are
// captured at every device of the path, and the first that the requests, or their
// answers, do not come to says where the path breaks.

// Random returns so many faults, the same for the same seed.
func Random(seed uint64, count int) (faults []Fault) {
	r := rand.New(rand.NewPCG(seed, seed)) // repeatable on purpose
	for i := range count {
		f := randomKinds[r.IntN(len(randomKinds))](r)
		f.Name, f.random = fmt.Sprintf("random-%d-%d", seed, i), true
		faults = append(faults, f)
	}
	return faults
}

var randomKinds = []func(*rand.Rand) Fault{randomRule, randomRule, randomRule, randomDeviceRule, randomRouting, randomRoute, randomNeighbour, randomQdisc, randomLink, randomStop}

// place is a way that packets of the path go, as rules can tell it.
type place struct {
	what  string
	host  bool
	hooks []*nftables.ChainHook
	match func(network.Slot) []expr.Any
}

var places = []place{
	{"what the proxy sends the slot", true, []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}, func(s network.Slot) []expr.Any { return toAddr(s.VpeerIP()) }},
	{"what comes from the slot's veth", true, []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput}, func(s network.Slot) []expr.Any { return fromDevice(s.HostVeth()) }},
	{"what comes for envd's port by eth0", false, []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput}, func(network.Slot) []expr.Any {
		return slices.Concat(fromDevice(e2b.Vpeer), toEnvd)
	}},
	{"what the relay answers", false, []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}, func(network.Slot) []expr.Any {
		return slices.Concat(toDevice(e2b.Vpeer), fromEnvd)
	}},
	{"what the relay sends the guest", false, []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}, func(s network.Slot) []expr.Any {
		return slices.Concat(toDevice(s.Tap()), toEnvd)
	}},
	{"what the guest answers", false, []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput}, func(s network.Slot) []expr.Any {
		return slices.Concat(fromDevice(s.Tap()), fromEnvd)
	}},
}

// longer matches packets of more bytes.
func longer(than uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: []byte{byte(than >> 24), byte(than >> 16), byte(than >> 8), byte(than)}},
	}
}

func randomRule(r *rand.Rand) Fault {
	p := places[r.IntN(len(places))]
	hook := p.hooks[r.IntN(len(p.hooks))]
	family, long := nftables.TableFamilyIPv4, uint32(0)
	if r.IntN(2) == 0 {
		family = nftables.TableFamilyINet
	}
	what := "a rule drops " + p.what
	if r.IntN(3) == 0 {
		long = 60 + r.Uint32N(40) // a SYN is not, a request is
		what += fmt.Sprintf(", if it is longer than %d bytes", long)
	}
	return Fault{What: fmt.Sprintf("%s (hook %d, family %d)", what, *hook, family), Make: func(_ context.Context, b *Box) (func() error, error) {
		parts := [][]expr.Any{p.match(b.Slot)}
		if long > 0 {
			parts = append(parts, longer(long))
		}
		ns := b.Slot.Netns()
		if p.host {
			ns = ""
		}
		return addRule(ns, at(family, hook), append(parts, drop)...)
	}}
}

// randomDeviceRule is a chain of a device's own (netdev).
func randomDeviceRule(r *rand.Rand) Fault {
	device, answers := r.IntN(3), r.IntN(2) == 0
	return Fault{What: fmt.Sprintf("a chain of %s drops what comes in (answers %v)", [...]string{"the host's veth", "eth0", "the tap"}[device], answers), Make: func(_ context.Context, b *Box) (func() error, error) {
		chain := at(nftables.TableFamilyNetdev, nftables.ChainHookIngress)
		ns, match := b.Slot.Netns(), fromEnvd
		chain.Device = [...]string{b.Slot.HostVeth(), e2b.Vpeer, b.Slot.Tap()}[device]
		if device == 0 {
			ns = ""
		}
		if !answers {
			match = toEnvd
		}
		return addRule(ns, chain, match, drop)
	}}
}

// randomRouting is a rule of routing that lets something end.
func randomRouting(r *rand.Rand) Fault {
	kind := [...]uint8{unix.FR_ACT_BLACKHOLE, unix.FR_ACT_UNREACHABLE, unix.FR_ACT_PROHIBIT}[r.IntN(3)]
	which := r.IntN(4)
	return Fault{What: fmt.Sprintf("a rule of routing (%d) ends what goes %s", kind, [...]string{"to the guest", "from the relay's address", "to the proxy's side of the veth", "from the host to the slot"}[which]), Make: func(_ context.Context, b *Box) (func() error, error) {
		rule := netlink.NewRule()
		rule.Priority, rule.Type = 40, kind
		switch which {
		case 0:
			rule.Dst = single(b.Slot.GuestIP())
		case 1:
			rule.Src = single(b.Slot.VpeerIP())
		case 2:
			rule.Dst = single(b.Slot.VethIP())
		case 3:
			rule.Dst = single(b.Slot.VpeerIP())
			return func() error { return netlink.RuleDel(rule) }, netlink.RuleAdd(rule)
		}
		return b.reroute(nil, rule)
	}}
}

func randomRoute(r *rand.Rand) Fault {
	kind := [...]int{unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT}[r.IntN(3)]
	which := r.IntN(3)
	return Fault{What: fmt.Sprintf("a route (%d) ends what goes %s", kind, [...]string{"to the guest", "to the proxy's side of the veth", "from the host to the slot"}[which]), Make: func(_ context.Context, b *Box) (func() error, error) {
		to, ns := [...]netip.Addr{b.Slot.GuestIP(), b.Slot.VethIP(), b.Slot.VpeerIP()}[which], b.Slot.Netns()
		if which == 2 {
			ns = ""
		}
		return addRoute(ns, netlink.Route{Type: kind, Dst: single(to)})
	}}
}

func randomNeighbour(r *rand.Rand) Fault {
	which := r.IntN(3)
	return Fault{What: "a permanent neighbour entry is wrong: " + [...]string{"the guest's", "the host's in the slot", "the slot's on the host"}[which], Make: func(_ context.Context, b *Box) (func() error, error) {
		switch which {
		case 0:
			return neighbour(b.Slot.Netns(), b.Slot.Tap(), b.Slot.GuestIP())
		case 1:
			return neighbour(b.Slot.Netns(), e2b.Vpeer, b.Slot.VethIP())
		}
		return neighbour("", b.Slot.HostVeth(), b.Slot.VpeerIP())
	}}
}

func randomQdisc(r *rand.Rand) Fault {
	which := r.IntN(3)
	return Fault{What: "a queue of 8 kbit/s is put before " + [...]string{"the host's veth", "eth0", "the tap"}[which], Make: func(_ context.Context, b *Box) (func() error, error) {
		if which == 0 {
			return slowly("", b.Slot.HostVeth())
		}
		return slowly(b.Slot.Netns(), [...]string{"", e2b.Vpeer, b.Slot.Tap()}[which])
	}}
}

// randomLink sets the tap down: the ends of the veth lose their routes with that.
func randomLink(*rand.Rand) Fault {
	return Fault{What: "the tap is set down", Make: func(_ context.Context, b *Box) (func() error, error) {
		return func() error { return b.tap(netlink.LinkSetUp) }, b.tap(netlink.LinkSetDown)
	}}
}

func randomStop(*rand.Rand) Fault {
	return Fault{What: "the VMM is stopped", Make: func(_ context.Context, b *Box) (func() error, error) {
		return func() error { return b.signal(syscall.SIGCONT) }, b.signal(syscall.SIGSTOP)
	}}
}

// step is one thing that must be seen on the way of a request over a connection of its
// own, in this order, and where the path may be broken if it is not.
type step struct {
	point  int // 0: the host's veth, 1: eth0, 2: the tap
	answer bool
	syn    bool
	hops   []path.Hop
}

var steps = []step{
	{0, false, true, []path.Hop{path.Relay}},
	{1, false, true, []path.Hop{path.Relay}},
	{1, true, true, []path.Hop{path.Relay}},
	{0, true, true, []path.Hop{path.Relay}},
	{0, false, false, []path.Hop{path.Proxy, path.Relay}}, // the answer is not received, or the request not sent
	{1, false, false, []path.Hop{path.Relay}},
	{2, false, true, []path.Hop{path.Tap}},
	{2, true, true, []path.Hop{path.Guest, path.Envd}},
	{2, false, false, []path.Hop{path.Relay, path.Tap}}, // the same
	{2, true, false, []path.Hop{path.Guest, path.Envd}},
	{1, true, false, []path.Hop{path.Relay}},
	{0, true, false, []path.Hop{path.Relay}},
}

const synFlag = 2 // of TCP

// leg is what tells connections apart: before the relay or behind it, and the port.
func leg(f trace.Frame) [2]int { return [2]int{f.Point / 2, int(f.Client)} }

// ofNew returns the segments of connections that were seen from their begin on.
func ofNew(frames []trace.Frame) (segments []trace.Frame) {
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
func brokenAt(frames []trace.Frame) []path.Hop {
	segments := ofNew(frames)
	for _, s := range steps {
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
	return []path.Hop{path.Proxy}
}

const (
	// capturing is how long packets are captured, once the fault has taken.
	capturing = 3 * time.Second
	// follows is how long the verdict may take to follow after that.
	follows = 12 * time.Second
	// randomClients ask at a time, and each waits as long as that for an answer.
	randomClients  = 4
	randomPatience = 2 * time.Second
)

// judgeRandom waits until the verdict is what requests and packets show.
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
	hops := brokenAt(frames)
	var right time.Time
	ctx, cancel := context.WithTimeoutCause(ctx, follows, errLate)
	defer cancel()
	for {
		s, err := b.seen(ctx)
		if err != nil {
			return err
		}
		if s != nil {
			asked, answered := b.got.fare(began)
			r.Expected, r.Rule = expected(asked, answered, hops, s.Diagnosis)
			r.Named = codes(s.Diagnosis)
		}
		switch {
		case s == nil || r.Rule != "" || r.Expected == "":
			right = time.Time{}
		case right.IsZero():
			right = time.Now()
		}
		if !right.IsZero() && time.Since(right) >= holdTime {
			r.Right, r.Seconds = true, right.Sub(made).Seconds()
			return nil
		}
		select {
		case <-ctx.Done():
			r.Seconds = time.Since(made).Seconds()
			if errors.Is(context.Cause(ctx), errLate) {
				return nil
			}
			return context.Cause(ctx)
		case <-time.After(lookEvery):
		}
	}
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

// Explained says of what share of the faults that broke a path a check knew the cause.
func Explained(results []Result) (explained, broken int) {
	for _, r := range results {
		if strings.HasPrefix(r.Expected, "broken") {
			broken++
			if r.Named != "" && !strings.Contains(r.Named, "unexplained") {
				explained++
			}
		}
	}
	return explained, broken
}
