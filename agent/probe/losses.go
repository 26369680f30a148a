package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Drops is the frames to a guest that the kernel dropped, by reason. A tap meets
// few reasons; places without a reason are free.
type Drops [len(bpf.TapDrops{}.Of) + 1]struct {
	Reason string // the kernel's name without its prefix, e.g. FULL_RING; other for what found no place
	Count  uint64
}

const otherReasons = "other"

// losses counts drops and retransmissions of all taps, and drops of the service's
// packets wherever they are. What the kernel lacks is left out.
type losses struct {
	coll  *ebpf.Collection
	links []link.Link
	names map[uint32]string // of reasons; nil: the kernel tells none
}

// Close ends the counting.
func (l *losses) Close() error {
	if l == nil {
		return nil
	}
	err := closeLinks(l.links)
	l.coll.Close()
	return err
}

// loadLosses begins to count in the maps of the tap programs what can be counted
// here, and notes what cannot; nil where that is all.
func (p *Probe) loadLosses(port uint16) *losses {
	names, noDrops := dropNames()
	noPlaces := haveTracepoints("kfree_skb")
	noRetransmits := haveTracepoints("tcp_retransmit_skb")
	var leaveOut []string
	if noDrops != nil {
		leaveOut = append(leaveOut, bpf.LossesProgTapDrops)
	}
	if noRetransmits != nil {
		leaveOut = append(leaveOut, bpf.LossesProgTapRetransmits)
	}
	if noPlaces != nil {
		leaveOut = append(leaveOut, bpf.LossesProgCountPathDrops)
	}
	l, err := p.attachLosses(leaveOut, port, names)
	p.note("drop_reasons", errors.Join(noDrops, err))
	p.note("drop_places", errors.Join(noPlaces, err))
	p.note("retransmits", errors.Join(noRetransmits, err))
	if err != nil || len(leaveOut) == 3 {
		return nil
	}
	return l
}

func (p *Probe) attachLosses(leaveOut []string, port uint16, names map[uint32]string) (*losses, error) {
	spec, err := bpf.LoadLosses()
	if err != nil {
		return nil, fmt.Errorf("read loss programs: %w", err)
	}
	for _, name := range leaveOut {
		delete(spec.Programs, name)
	}
	var hasReason uint8
	if names != nil {
		hasReason = 1
	}
	vars := spec.Variables
	err = errors.Join(vars[bpf.LossesVarServicePort].Set(port), vars[bpf.LossesVarHasReason].Set(hasReason), vars[bpf.LossesVarNoLosses].Set(noLosses(names)))
	if err != nil {
		return nil, fmt.Errorf("configure loss programs: %w", err)
	}
	types, giveBack := bpf.Types()
	defer giveBack()
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types, MapReplacements: map[string]*ebpf.Map{
		bpf.TapMapTaps: p.tap.Taps, bpf.TapMapDrops: p.tap.Maps[bpf.TapMapDrops], bpf.TapMapActive: p.tap.Maps[bpf.TapMapActive],
	}})
	if err != nil {
		return nil, fmt.Errorf("load loss programs: %w", bpf.Explain(err))
	}
	l := &losses{coll: coll, names: names}
	for _, prog := range coll.Programs {
		at, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach loss program: %w", bpf.Explain(err)), l.Close())
		}
		l.links = append(l.links, at)
	}
	return l, nil
}

// dropNames returns the kernel's reasons, from its BTF; an error where it tells
// none with a drop (before 5.17).
func dropNames() (map[uint32]string, error) {
	params, err := tracepointParams("kfree_skb")
	if err != nil {
		return nil, err
	}
	const reason = 2 // skb, location, reason
	if len(params) <= reason {
		return nil, fmt.Errorf("%w: tracepoint kfree_skb gives no reason, needs Linux 5.17", ebpf.ErrNotSupported)
	}
	reasons, ok := btf.UnderlyingType(params[reason].Type).(*btf.Enum)
	if !ok {
		return nil, fmt.Errorf("%w: tracepoint kfree_skb gives %v for a reason", ebpf.ErrNotSupported, params[reason].Type)
	}
	names := make(map[uint32]string, len(reasons.Values))
	for _, v := range reasons.Values {
		name := strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
		names[uint32(v.Value)] = strings.TrimPrefix(name, "SKB_")
	}
	return names, nil
}

// dropsOf returns what was dropped of one device.
func (p *Probe) dropsOf(d netns.Device) (Drops, error) {
	var perCPU []bpf.TapDrops
	err := p.tap.Maps[bpf.TapMapDrops].Lookup(keyOf(d), &perCPU)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Drops{}, nil
	}
	if err != nil {
		return Drops{}, fmt.Errorf("read drops: %w", err)
	}
	return p.losses.sum(perCPU), nil
}

// allDrops returns what was dropped of every device that had a drop.
func (p *Probe) allDrops() (map[netns.Device]Drops, error) {
	var key bpf.TapKey
	var perCPU []bpf.TapDrops
	all := map[netns.Device]Drops{}
	it := p.tap.Maps[bpf.TapMapDrops].Iterate()
	for it.Next(&key, &perCPU) {
		all[deviceOf(key)] = p.losses.sum(perCPU)
	}
	return all, it.Err()
}

// sum adds the CPUs' counts, each of which has its own order of reasons.
func (l *losses) sum(perCPU []bpf.TapDrops) (d Drops) {
	other := &d[len(d)-1]
	for i := range perCPU {
		for _, o := range perCPU[i].Of {
			if o.Count > 0 {
				d.add(l.name(o.Reason), o.Count)
			}
		}
		other.Count += perCPU[i].Other
	}
	if other.Count > 0 {
		other.Reason = otherReasons
	}
	return d
}

// Of is the count of one reason.
func (d *Drops) Of(reason string) (n uint64) {
	for i := range d {
		if d[i].Reason == reason {
			n += d[i].Count
		}
	}
	return n
}

func (d *Drops) add(reason string, count uint64) {
	for i := range d[:len(d)-1] {
		if d[i].Reason == reason || d[i].Reason == "" {
			d[i].Reason = reason
			d[i].Count += count
			return
		}
	}
	d[len(d)-1].Count += count
}

// name is a reason's, or its number where it is a subsystem's own.
func (l *losses) name(reason uint32) string {
	if l != nil {
		if name, ok := l.names[reason]; ok {
			return name
		}
	}
	return fmt.Sprintf("%#x", reason)
}
