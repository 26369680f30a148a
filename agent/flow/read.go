package flow

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cilium/ebpf"

	"tapwatch/agent/path"
	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Part is what a hop's time consists of, in the order of bpf/flow.h; the first is
// the whole.
var parts = [bpf.FlowPartPART_LEN]string{"", "wait", "handle", "connect", "queue"}

var reasons = [bpf.FlowUnjoinedUNJOINED_LEN]string{"no_backend", "ambiguous", "disagree", "no_response", "table_full"}

// End is a socket of a path's connections, in the order of bpf/flow.h.
var ends = [bpf.FlowEndKindEND_LEN]struct{ layer, side string }{
	{"proxy", "front"}, {"proxy", "back"}, {"relay", "front"}, {"relay", "back"},
}

var states = [bpf.FlowConnStateCONN_LEN]string{"", "connecting", "established", "half_closed"}

// Stats is what was counted since Began.
type Stats struct {
	Began time.Time
	Hops  map[path.Hop]Histogram
	Parts []PartOf
	// Sandboxes has the histograms of those that have their own, by hop, and LeftOut
	// counts those that were to have some and found no place.
	Sandboxes map[netns.Cookie]*[len(Hops)]OfSandbox
	LeftOut   uint64
	Recent    map[path.Hop][]Sample

	Joined      []Joined
	Unjoined    []Unjoined
	Failed      []Failed
	Connections []Connections

	Negative uint64 // times that would have been below zero, and were taken for 0
	Unsplit  uint64 // answers whose tap and envd could not be told apart
}

// PartOf is the histogram of a part of a hop.
type PartOf struct {
	Hop  path.Hop
	Part string
	Histogram
}

// OfSandbox is the histogram of one sandbox, counted since Began.
type OfSandbox struct {
	Began time.Time
	Histogram
}

// Sample is one request, for exemplars.
type Sample struct {
	Netns netns.Cookie
	Took  time.Duration
	At    time.Time
	Place int // of the histogram
}

// Joined counts the requests of a hop by how their sockets were joined.
type Joined struct {
	Hop   path.Hop
	How   string
	Count uint64
}

// Unjoined counts those that were not.
type Unjoined struct {
	Hop    path.Hop
	Reason string
	Count  uint64
}

// Failed counts connects that came to nothing, by the hop that did not answer.
// Errno 0: the program gave up before the kernel did.
type Failed struct {
	Hop   path.Hop
	Errno unix.Errno
	Count uint64
}

// Connections counts sockets of a side of a layer.
type Connections struct {
	Layer, Side, State string
	Now                int64
}

// Seen is what real traffic showed of a path's hops last; the zero time is never.
type Seen struct {
	Good, Bad [len(Hops)]time.Time
	Asked     [Askers]Asked
}

// Of whom something is asked, in the order of bpf/flow.h.
const (
	OfRelay = int(bpf.FlowAskedOfASKED_RELAY)
	OfGuest = int(bpf.FlowAskedOfASKED_GUEST)
	Askers  = int(bpf.FlowAskedOfASKED_LEN)
)

// Asked counts what was asked at the service's port since the path was added, by what
// came of it, in the order of path.Outcomes.
type Asked struct {
	Began uint64
	// FailedSince is when the latest one began that failed; zero: none did.
	FailedSince time.Time
	// AnsweredSince is the same of those that were answered.
	AnsweredSince time.Time
	Outcomes      [len(path.Outcomes)]uint64
}

// Open is how many have not ended.
func (a *Asked) Open() uint64 {
	open := a.Began
	for _, n := range a.Outcomes {
		open -= min(n, open)
	}
	return open
}

// Waiting is something asked that has not ended.
type Waiting struct {
	Netns netns.Cookie
	Of    int // OfRelay or OfGuest
	path.Wait
}

// Open says whether something was asked and had not ended when Seen was called last.
func (f *Flow) Open() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open
}

// Waiting returns what waits now for an answer, in no order. It passes over all sockets
// of the paths: it is called where Seen has found something open.
func (f *Flow) Waiting() (all []Waiting, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objs == nil {
		return nil, errors.New("read flow: the programs are gone")
	}
	r, err := f.waits.Open()
	if err != nil {
		return nil, fmt.Errorf("read what waits: %w", err)
	}
	defer r.Close()
	clock := f.now()
	err = bpf.Records(r, func(w *bpf.FlowWaiting) {
		all = append(all, Waiting{netns.Cookie(w.Netns), int(w.Of), path.Wait{
			Since: clock.time(w.Since), Connecting: w.Connecting != 0, Left: w.Left != 0, Acked: w.Acked != 0,
		}})
	})
	if err != nil {
		return nil, fmt.Errorf("read what waits: %w", err)
	}
	return all, nil
}

// mark is by what something newly seen of a path is known.
type mark struct{ at, began, ended uint64 }

func markOf(seen *bpf.FlowSeen) mark {
	m := mark{at: max(slices.Max(seen.Good[:]), slices.Max(seen.Bad[:]))}
	for i := range seen.Asked {
		m.began += seen.Asked[i].Began
		for _, n := range seen.Asked[i].Outcomes {
			m.ended += n
		}
	}
	return m
}

// Read reads all that was counted: maps only, which waits for no lock of the
// kernel's.
func (f *Flow) Read() (Stats, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objs == nil {
		return Stats{}, errors.New("read flow: the programs are gone")
	}
	s := Stats{Hops: map[path.Hop]Histogram{}, Recent: map[path.Hop][]Sample{}, LeftOut: f.leftOut, Began: f.began}
	now := f.now()
	for _, read := range []func(*Stats, clock) error{f.readHops, f.readRecent, f.readTotals} {
		if err := read(&s, now); err != nil {
			return Stats{}, fmt.Errorf("read flow: %w", err)
		}
	}
	var err error
	if s.Sandboxes, err = f.ofSandboxes(); err != nil {
		return Stats{}, fmt.Errorf("read flow: %w", err)
	}
	return s, nil
}

func (f *Flow) readHops(s *Stats, _ clock) error {
	for hop := range Hops {
		for part := range parts {
			var perCPU []bpf.FlowHist
			if err := f.objs.Maps[bpf.FlowMapHists].Lookup(uint32(hop*len(parts)+part), &perCPU); err != nil {
				return err
			}
			var h Histogram
			h.add(perCPU)
			switch {
			case part == 0:
				s.Hops[Hops[hop]] = h
			case h.Count > 0:
				s.Parts = append(s.Parts, PartOf{Hop: Hops[hop], Part: parts[part], Histogram: h})
			}
		}
	}
	return nil
}

// readRecent keeps the latest of all CPUs for each octave.
func (f *Flow) readRecent(s *Stats, c clock) error {
	bounds := boundsNS()
	for hop := range Hops {
		var perCPU []bpf.FlowSamples
		if err := f.objs.Maps[bpf.FlowMapRecent].Lookup(uint32(hop), &perCPU); err != nil {
			return err
		}
		for octave := range perCPU[0].Of {
			latest := perCPU[0].Of[octave]
			for _, cpu := range perCPU[1:] {
				if cpu.Of[octave].At > latest.At {
					latest = cpu.Of[octave]
				}
			}
			if latest.At == 0 {
				continue
			}
			place := 0
			for place < len(bounds) && latest.Ns > bounds[place] {
				place++
			}
			s.Recent[Hops[hop]] = append(s.Recent[Hops[hop]], Sample{
				Netns: netns.Cookie(latest.Netns), Took: time.Duration(latest.Ns), At: c.time(latest.At), Place: place,
			})
		}
	}
	return nil
}

func (f *Flow) readTotals(s *Stats, _ clock) error {
	var perCPU []bpf.FlowTotals
	if err := f.objs.Maps[bpf.FlowMapTotals].Lookup(uint32(0), &perCPU); err != nil {
		return err
	}
	var t bpf.FlowTotals
	for i := range perCPU {
		cpu := &perCPU[i]
		addAll(t.Joined[:], cpu.Joined[:])
		addAll(t.Unjoined[:], cpu.Unjoined[:])
		addAll(t.Failed[:], cpu.Failed[:])
		addAll(t.Connections[:], cpu.Connections[:])
		t.Negative += cpu.Negative
		t.Unsplit += cpu.Unsplit
	}
	s.Negative, s.Unsplit = t.Negative, t.Unsplit
	for hop, name := range Hops {
		for how := range hows {
			n := t.Joined[hop*len(hows)+how]
			if n > 0 || layer(name) && bpf.FlowHow(how) != bpf.FlowHowHOW_NONE {
				s.Joined = append(s.Joined, Joined{name, hows[how], n})
			}
		}
		for why := range reasons {
			if n := t.Unjoined[hop*len(reasons)+why]; n > 0 || layer(name) {
				s.Unjoined = append(s.Unjoined, Unjoined{name, reasons[why], n})
			}
		}
		errnos := len(t.Failed) / len(Hops)
		for errno := range errnos {
			if n := t.Failed[hop*errnos+errno]; n > 0 {
				s.Failed = append(s.Failed, Failed{name, unix.Errno(errno), n})
			}
		}
	}
	for end, name := range ends {
		for state := 1; state < len(states); state++ {
			s.Connections = append(s.Connections, Connections{name.layer, name.side, states[state], t.Connections[end*len(states)+state]})
		}
	}
	return nil
}

// layer says whether sockets are joined in a hop: none so far is a count of 0.
func layer(h path.Hop) bool { return h == path.Proxy || h == path.Relay }

func addAll[N uint64 | int64](to, from []N) {
	for i := range to {
		to[i] += from[i]
	}
}

// Seen returns what real traffic showed of the paths of which it showed anything
// since the last call.
func (f *Flow) Seen() (map[netns.Cookie]Seen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.objs == nil {
		return nil, errors.New("read flow: the programs are gone")
	}
	clock := f.now()
	fresh := map[netns.Cookie]Seen{}
	if !f.noted() {
		return fresh, nil
	}
	err := f.eachSeen(func(cookie uint64, seen *bpf.FlowSeen) {
		m := markOf(seen)
		if m == f.latest[cookie] {
			return
		}
		f.latest[cookie] = m
		var of Seen
		for hop := range Hops {
			of.Good[hop], of.Bad[hop] = clock.time(seen.Good[hop]), clock.time(seen.Bad[hop])
		}
		for i := range seen.Asked {
			of.Asked[i] = Asked{seen.Asked[i].Began, clock.time(seen.Asked[i].FailedSince), clock.time(seen.Asked[i].AnsweredSince), seen.Asked[i].Outcomes}
		}
		fresh[netns.Cookie(cookie)] = of
	})
	f.open = false
	for _, m := range f.latest {
		f.open = f.open || m.began != m.ended
	}
	if err != nil {
		return nil, fmt.Errorf("read flow: %w", err)
	}
	return fresh, nil
}

// readAnyway is how many times in a row what was seen is not read, since nothing was
// noted: a note is no lock, and one that is missed must not be missed for long.
const readAnyway = 10

// noted says whether anything may have been noted since it was asked last.
func (f *Flow) noted() bool {
	var perCPU []uint64
	err := f.objs.Maps[bpf.FlowMapNotes].Lookup(uint32(0), &perCPU)
	var notes uint64
	for _, n := range perCPU {
		notes += n
	}
	f.skipped++
	if err == nil && notes == f.notes && f.skipped < readAnyway {
		return false
	}
	f.notes, f.skipped = notes, 0
	return true
}

// seenBatch is how many are read in one call, which for one sandbox each would be the
// dearest of what an idle agent does. No bucket of the hash is larger.
const seenBatch = 1024

func (f *Flow) eachSeen(fn func(uint64, *bpf.FlowSeen)) error {
	var cursor ebpf.MapBatchCursor
	if f.keys == nil {
		f.keys, f.values = make([]uint64, seenBatch), make([]bpf.FlowSeen, seenBatch)
	}
	for {
		n, err := f.objs.Maps[bpf.FlowMapSeen].BatchLookup(&cursor, f.keys, f.values, nil)
		for i := range n {
			fn(f.keys[i], &f.values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // the end
			return nil
		case err != nil:
			return err
		}
	}
}

// time is a kernel's time; 0 is never.
func (c clock) time(ns uint64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, c.zero+int64(ns))
}
