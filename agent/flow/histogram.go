package flow

import (
	"errors"
	"math"
	"time"

	"github.com/cilium/ebpf"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// The buckets are those of Prometheus' native histograms of schema 3, so that what
// the kernel counted is told exactly: bucket i ends at 2^(FirstOctave + i/Steps) s,
// and every Steps-th is one of the classic histogram as well.
const (
	FirstOctave = -20
	Octaves     = 27
	Steps       = 8
)

// Histogram is of times in a hop.
type Histogram struct {
	Count uint64
	Sum   time.Duration
	// Places[0] is up to 2^FirstOctave s, Places[i] up to 2^(FirstOctave+i/Steps) s,
	// the last all that is above.
	Places [Octaves*Steps + 2]uint64
}

// Bound is the upper bound of a place, in seconds.
func Bound(place int) float64 {
	if place > Octaves*Steps {
		return math.Inf(1)
	}
	return math.Exp2(FirstOctave + float64(place)/Steps)
}

// Quantile is the upper bound, in seconds, of the place in which the quantile q
// lies; NaN of an empty histogram.
func (h *Histogram) Quantile(q float64) float64 {
	if h.Count == 0 {
		return math.NaN()
	}
	rank, sum := uint64(math.Ceil(q*float64(h.Count))), uint64(0)
	for i, n := range h.Places {
		if sum += n; sum >= rank {
			return Bound(i)
		}
	}
	return math.Inf(1)
}

// boundsNS is what the programs sort by: a time of whole nanoseconds is within a
// bound exactly where it is within its whole part.
func boundsNS() (b [Octaves*Steps + 1]uint64) {
	for i := range b {
		b[i] = uint64(math.Floor(Bound(i) * 1e9))
	}
	return b
}

func (h *Histogram) add(perCPU []bpf.FlowHist) {
	for i := range perCPU {
		h.Count += perCPU[i].Count
		h.Sum += time.Duration(perCPU[i].SumNs)
		for j, n := range perCPU[i].Places {
			h.Places[j] += n
		}
	}
}

// ownHistograms makes a place for a sandbox's own, while there are any.
func (f *Flow) ownHistograms(c netns.Cookie) {
	if _, has := f.own[c]; has || f.cfg.PerSandbox == 0 {
		return
	}
	if len(f.own) >= f.cfg.PerSandbox {
		f.leftOut++
		return
	}
	empty := make([]bpf.FlowHist, f.cpus)
	for hop := range Hops {
		if err := f.objs.Maps[bpf.FlowMapSandboxHists].Put(bpf.FlowHistKey{Netns: uint64(c), Hop: uint32(hop)}, empty); err != nil {
			f.leftOut++
			return
		}
	}
	f.own[c] = time.Now()
}

func (f *Flow) disown(c netns.Cookie) {
	if _, has := f.own[c]; !has {
		return
	}
	delete(f.own, c)
	for hop := range Hops {
		_ = f.objs.Maps[bpf.FlowMapSandboxHists].Delete(bpf.FlowHistKey{Netns: uint64(c), Hop: uint32(hop)})
	}
}

// ofSandboxes reads the histograms of single sandboxes.
func (f *Flow) ofSandboxes() (map[netns.Cookie]*[len(Hops)]OfSandbox, error) {
	all := map[netns.Cookie]*[len(Hops)]OfSandbox{}
	for c, began := range f.own {
		of := new([len(Hops)]OfSandbox)
		for hop := range Hops {
			var perCPU []bpf.FlowHist
			err := f.objs.Maps[bpf.FlowMapSandboxHists].Lookup(bpf.FlowHistKey{Netns: uint64(c), Hop: uint32(hop)}, &perCPU)
			if errors.Is(err, ebpf.ErrKeyNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			of[hop].Began = began
			of[hop].add(perCPU)
		}
		all[c] = of
	}
	return all, nil
}
