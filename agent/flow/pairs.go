package flow

import (
	"net/netip"

	"tapwatch/agent/path"
	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Hops is the hops that have a latency, in the order of bpf/flow.h. That of the tap
// contains the host's kernel, the VMM and the guest's kernel.
var Hops = [bpf.FlowHopHOP_LEN]path.Hop{path.Proxy, path.Relay, path.Tap, path.Envd}

// How it is known that two sockets carry the same request, in the order of
// bpf/flow.h.
var hows = [bpf.FlowHowHOW_LEN]string{"none", "told", "buffer", "sequence"}

// Tuple is the addresses of a socket.
type Tuple struct {
	Local, Remote netip.AddrPort
	Cookie        uint64
}

// Pair is two sockets of one program of which one carries the other's requests.
type Pair struct {
	Hop         path.Hop
	Netns       netns.Cookie // of the sandbox
	Front, Back Tuple
	How         string
	Requests    uint64 // that were measured
	Sure        bool   // no evidence is looked for any more
}

// Pairs lists what is joined now. A pair goes with its front socket; one that has
// carried no whole request yet is not listed, nor one of a pool whose last request
// may have gone elsewhere.
func (f *Flow) Pairs() ([]Pair, error) {
	var all []Pair
	var front uint64
	var p bpf.FlowPair
	it := f.objs.Maps[bpf.FlowMapPairs].Iterate()
	for it.Next(&front, &p) {
		if p.Requests == 0 || p.Pooled&p.Doubt != 0 || int(p.Hop) >= len(Hops) || int(p.How) >= len(hows) {
			continue
		}
		all = append(all, Pair{
			Hop: Hops[p.Hop], Netns: netns.Cookie(p.Netns), How: hows[p.How], Requests: p.Requests,
			Sure:  p.How == uint8(bpf.FlowHowHOW_TOLD) || p.Same >= sureAfter,
			Front: tuple(front, p.FrontTuple.Local, p.FrontTuple.LocalPort, p.FrontTuple.Remote, p.FrontTuple.RemotePort),
			Back:  tuple(p.Back, p.BackTuple.Local, p.BackTuple.LocalPort, p.BackTuple.Remote, p.BackTuple.RemotePort),
		})
	}
	return all, it.Err()
}

const sureAfter = 3 // SURE_AFTER of bpf/flow_exchange.h

func tuple(cookie uint64, local uint32, localPort uint16, remote uint32, remotePort uint16) Tuple {
	return Tuple{
		Local:  netip.AddrPortFrom(unwire(local), localPort),
		Remote: netip.AddrPortFrom(unwire(remote), remotePort), Cookie: cookie,
	}
}
