package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/ktime"
	"tapwatch/internal/netns"
)

// PathDrop is packets of the service's port that the kernel dropped at one place.
type PathDrop struct {
	Device   netns.Device // that they were at; Ifindex 0: unknown
	Addr     netip.Addr   // of the end with the service's port
	Back     bool         // that end sent them
	Reason   string       // as in Drops; empty: the kernel tells none
	Function string       // of the kernel that dropped them; empty: unknown
	Count    uint64       // since First
	// First and Last are of a run of drops: after a long pause the next begins anew.
	First, Last ktime.Moment
}

// notSpecified is the reason of the places that give none.
const notSpecified = "NOT_SPECIFIED"

// harmless are the reasons by which nothing of a path is lost: what was not dropped, what
// an ended socket still had, and what had come before.
var harmless = []string{"NOT_DROPPED_YET", "CONSUMED", "QUEUE_PURGE", "TCP_OLD_DATA", "TCP_OLD_ACK", "TCP_OLD_SEQUENCE"}

// noReason is a number that no reason has. Some kernels' first is NOT_SPECIFIED: 0 is one.
const noReason = ^uint32(0)

// noLosses are the numbers of the harmless reasons.
func noLosses(names map[uint32]string) (all [8]uint32) {
	for i := range all {
		all[i] = noReason
	}
	n := 0
	for number, name := range names {
		if n < len(all) && slices.Contains(harmless, name) {
			all[n] = number
			n++
		}
	}
	return all
}

// PathDrops returns the packets of the service's port that the kernel dropped lately,
// anywhere on the host; none where that is not counted, see Capabilities. It reads a
// whole table: ask it of what fails.
func (p *Probe) PathDrops() (all []PathDrop, err error) {
	if p.losses == nil {
		return nil, nil
	}
	var place bpf.LossesDropPlace
	var run bpf.LossesDropRun
	it := p.losses.coll.Maps[bpf.LossesMapPathDrops].Iterate()
	for it.Next(&place, &run) {
		all = append(all, p.losses.pathDrop(&place, &run))
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) { // old entries gave way to new ones
		return nil, fmt.Errorf("read drops by place: %w", err)
	}
	return all, nil
}

// DropKind is a reason and a direction.
type DropKind struct {
	Reason string // as in PathDrop, but unknown where the kernel tells none
	Back   bool
}

// PathDropSums counts the packets of the service's port that the kernel dropped, of the
// whole host, since the programs were loaded; nil where that is not counted.
func (p *Probe) PathDropSums() (map[DropKind]uint64, error) {
	if p.losses == nil {
		return nil, nil
	}
	sums := map[DropKind]uint64{}
	var kind bpf.LossesDropKind
	var perCPU []uint64
	it := p.losses.coll.Maps[bpf.LossesMapPathDropSums].Iterate()
	for it.Next(&kind, &perCPU) {
		reason := "unknown"
		if p.losses.names != nil {
			reason = p.losses.name(kind.Reason)
		}
		for _, n := range perCPU {
			sums[DropKind{reason, kind.Back != 0}] += n
		}
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read sums of drops: %w", err)
	}
	return sums, nil
}

func (l *losses) pathDrop(place *bpf.LossesDropPlace, run *bpf.LossesDropRun) PathDrop {
	var addr [4]byte
	binary.NativeEndian.PutUint32(addr[:], place.Addr)
	d := PathDrop{Device: netns.Device{Netns: netns.Cookie(place.Netns), Ifindex: netns.Ifindex(place.Ifindex)},
		Addr: netip.AddrFrom4(addr), Back: place.Back != 0, Function: unix.ByteSliceToString(run.Symbol[:]),
		Count: run.Count, First: ktime.Moment(run.First), Last: ktime.Moment(run.Last)}
	if reason := l.name(place.Reason); l.names != nil && reason != notSpecified {
		d.Reason = reason
	}
	return d
}
