package drill

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// Faults that nobody thought of: what can be done to a path of any shape, at a random
// place, with random conditions. No check is expected. What is right is measured
// (measured.go).

// Random returns so many faults, the same for the same seed.
func Random(seed uint64, count int) (faults []Fault) {
	r := rand.New(rand.NewPCG(seed, seed)) // repeatable on purpose
	for i := range count {
		shape := [...]registry.Shape{registry.Relay, registry.Relay, registry.DNAT, registry.Fused}[r.IntN(4)]
		f := randomKinds[r.IntN(len(randomKinds))](r, shape)
		f.Name, f.What = fmt.Sprintf("random-%d-%d", seed, i), f.What+" ("+string(shape)+")"
		f.shape, f.random = shape, true
		faults = append(faults, f)
	}
	// Those of one shape share a sandbox while it can be healed.
	slices.SortStableFunc(faults, func(a, b Fault) int { return strings.Compare(string(a.shape), string(b.shape)) })
	return faults
}

var randomKinds = []func(*rand.Rand, registry.Shape) Fault{
	randomRule, randomRule, randomRule, randomDeviceRule, randomRouting, randomRoute, randomNeighbour,
	randomQdisc, randomSysctl, randomLink, randomStop,
}

// place is a way that packets of the path go, as rules can tell it.
type place struct {
	what  string
	host  bool
	hooks []*nftables.ChainHook
	match func(network.Slot) []expr.Any
}

// The hooks of what a kernel sends, receives, and hands on.
var (
	sending    = []*nftables.ChainHook{nftables.ChainHookOutput, nftables.ChainHookPostrouting}
	receiving  = []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookInput}
	forwarding = []*nftables.ChainHook{nftables.ChainHookForward}
	leaving    = []*nftables.ChainHook{nftables.ChainHookForward, nftables.ChainHookPostrouting}
)

// reached is the address by which the proxy reaches a sandbox.
func reached(s network.Slot, shape registry.Shape) netip.Addr {
	switch shape {
	case registry.DNAT:
		return s.HostIP()
	case registry.Fused:
		return s.GuestIP()
	}
	return s.VpeerIP()
}

// placesOf is the ways of a path's packets.
func placesOf(shape registry.Shape) []place {
	intoGuest := func(s network.Slot) []expr.Any { return slices.Concat(toDevice(s.Tap()), toEnvd) }
	ofGuest := func(s network.Slot) []expr.Any { return slices.Concat(fromDevice(s.Tap()), fromEnvd) }
	if shape == registry.Fused {
		return []place{
			{"what the proxy sends the guest", false, sending, intoGuest},
			{"what the guest answers", false, receiving, ofGuest},
		}
	}
	in, between, out := receiving, sending, receiving // of the namespace
	if shape == registry.DNAT {
		in, between, out = forwarding, leaving, forwarding
	}
	return []place{
		{"what the proxy sends the slot", true, sending, func(s network.Slot) []expr.Any { return toAddr(reached(s, shape)) }},
		{"what comes from the slot's veth", true, receiving, func(s network.Slot) []expr.Any { return fromDevice(s.HostVeth()) }},
		{"what comes for envd's port by eth0", false, in, func(network.Slot) []expr.Any { return slices.Concat(fromDevice(e2b.Vpeer), toEnvd) }},
		{"what goes out by eth0 from envd's port", false, between, func(network.Slot) []expr.Any { return slices.Concat(toDevice(e2b.Vpeer), fromEnvd) }},
		{"what goes to the guest", false, between, intoGuest},
		{"what the guest answers", false, out, ofGuest},
	}
}

// longer matches packets of more bytes.
func longer(than uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: []byte{byte(than >> 24), byte(than >> 16), byte(than >> 8), byte(than)}},
	}
}

func randomRule(r *rand.Rand, shape registry.Shape) Fault {
	places := placesOf(shape)
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

// randomDevice is one that the path's packets pass: 0 the host's veth, 1 eth0, 2 the tap.
func randomDevice(r *rand.Rand, shape registry.Shape) int {
	if shape == registry.Fused {
		return 2
	}
	return r.IntN(3)
}

// randomDeviceRule is a chain of a device's own (netdev).
func randomDeviceRule(r *rand.Rand, shape registry.Shape) Fault {
	device, answers := randomDevice(r, shape), r.IntN(2) == 0
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
func randomRouting(r *rand.Rand, shape registry.Shape) Fault {
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
			rule.Dst = single(reached(b.Slot, shape))
			return func() error { return netlink.RuleDel(rule) }, netlink.RuleAdd(rule)
		}
		return b.reroute(nil, rule)
	}}
}

func randomRoute(r *rand.Rand, shape registry.Shape) Fault {
	kind := [...]int{unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT}[r.IntN(3)]
	which := r.IntN(3)
	return Fault{What: fmt.Sprintf("a route (%d) ends what goes %s", kind, [...]string{"to the guest", "to the proxy's side of the veth", "from the host to the slot"}[which]), Make: func(_ context.Context, b *Box) (func() error, error) {
		to, ns := [...]netip.Addr{b.Slot.GuestIP(), b.Slot.VethIP(), reached(b.Slot, shape)}[which], b.Slot.Netns()
		if which == 2 {
			ns = ""
		}
		return addRoute(ns, netlink.Route{Type: kind, Dst: single(to)})
	}}
}

func randomNeighbour(r *rand.Rand, shape registry.Shape) Fault {
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

func randomQdisc(r *rand.Rand, shape registry.Shape) Fault {
	which := randomDevice(r, shape)
	return Fault{What: "a queue of 8 kbit/s is put before " + [...]string{"the host's veth", "eth0", "the tap"}[which], Make: func(_ context.Context, b *Box) (func() error, error) {
		if which == 0 {
			return slowly("", b.Slot.HostVeth())
		}
		return slowly(b.Slot.Netns(), [...]string{"", e2b.Vpeer, b.Slot.Tap()}[which])
	}}
}

// randomSysctl changes how the namespace's kernel treats packets. Some break a path of some
// shape, and most none.
func randomSysctl(r *rand.Rand, _ registry.Shape) Fault {
	all := [...]struct{ name, value string }{
		{"ip_forward", "0"}, {"conf/eth0/forwarding", "0"}, {"conf/tap0/forwarding", "0"},
		{"conf/all/rp_filter", "1"}, {"conf/tap0/arp_ignore", "8"}, {"conf/eth0/arp_ignore", "8"},
		{"conf/tap0/arp_filter", "1"}, {"ip_default_ttl", "1"}, {"tcp_syncookies", "0"},
		{"icmp_echo_ignore_all", "1"}, {"conf/eth0/disable_xfrm", "1"},
	}
	one := all[r.IntN(len(all))]
	return Fault{What: fmt.Sprintf("the namespace's net.ipv4.%s becomes %s", strings.ReplaceAll(one.name, "/", "."), one.value), Make: func(_ context.Context, b *Box) (func() error, error) {
		file, was := filepath.Join("/proc/sys/net/ipv4", one.name), []byte(nil)
		err := netns.Do(b.Slot.Netns(), func() (err error) {
			if was, err = os.ReadFile(file); err != nil {
				return err
			}
			return os.WriteFile(file, []byte(one.value), 0o644)
		})
		return func() error {
			return netns.Do(b.Slot.Netns(), func() error { return os.WriteFile(file, was, 0o644) })
		}, err
	}}
}

// randomLink sets the tap down: the ends of the veth lose their routes with that.
func randomLink(*rand.Rand, registry.Shape) Fault {
	return Fault{What: "the tap is set down", Make: func(_ context.Context, b *Box) (func() error, error) {
		return func() error { return b.tap(netlink.LinkSetUp) }, b.tap(netlink.LinkSetDown)
	}}
}

// randomStop lets the VMM stand still, in one way or another.
func randomStop(r *rand.Rand, _ registry.Shape) Fault {
	if r.IntN(2) == 0 {
		return Fault{What: "the VMM's control group is frozen", Make: func(_ context.Context, b *Box) (func() error, error) {
			return freeze(b.VMM.PID)
		}}
	}
	return Fault{What: "the VMM is stopped", Make: func(_ context.Context, b *Box) (func() error, error) {
		return func() error { return b.signal(syscall.SIGCONT) }, b.signal(syscall.SIGSTOP)
	}}
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
