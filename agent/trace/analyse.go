package trace

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tapwatch/agent/path"
)

// Leg is a stretch of a path that the same packets pass: points in the order of
// requests. Asker and Asked are the programs at its ends, for people.
type Leg struct {
	Points       []int
	Asker, Asked string
	AskerHop     path.Hop // where answers are lost that come past all points
	AskedHop     path.Hop // where requests are
}

// Way is the points of a path and how its packets pass them.
type Way struct {
	Began  time.Time // of the listening
	Points []Point
	Legs   []Leg // in the order of requests
	// Waits says of each leg what was asked there while it was listened, and was not
	// acknowledged.
	Waits []Waits
}

// Waits is what waits for an acknowledgment.
type Waits int

// What may wait: nothing, a request, or a SYN.
const (
	Nothing Waits = iota
	Request
	SYN
)

const (
	// passes is how long a packet may take from one device to the next.
	passes = 150 * time.Millisecond
	// answers is how long a kernel may take to answer a SYN, or to acknowledge data.
	answers = 700 * time.Millisecond
	// resolves is how long a kernel that asks for a neighbour by ARP may leave a device
	// without any packet: it asks again after a second.
	resolves = 1200 * time.Millisecond
)

// packet is one that is known again at another point: a retransmission is the same.
type packet struct {
	client uint16
	answer bool
	seq    uint32
	syn    bool
}

// sight is when a packet was seen at a point, and how often.
type sight struct {
	first, last time.Time
	times       int
	len         uint32
}

// leg is what was seen of a stretch.
type leg struct {
	Leg
	points []Point
	seen   []map[packet]sight // by the place in Leg.Points
	acks   []map[acked]uint32 // the furthest acknowledgment
	resets []map[uint16]bool  // of the one who is asked, by the client's port
	arp    []arps
	end    time.Time
}

// acked is who acknowledged something to whom.
type acked struct {
	client uint16
	answer bool // the acknowledgment is in an answer
}

type arps struct {
	requests, replies    int
	firstReply, lastAsks time.Time
	firstAsks            time.Time
}

// Analyse tells where packets were lost, of frames that were seen until end; nil:
// nowhere, as far as was seen.
func Analyse(w Way, frames []Frame, end time.Time) *path.Loss {
	var all []path.Loss
	for i, l := range w.Legs {
		lost := newLeg(l, w.Points, frames, end).losses()
		if len(lost) == 0 && i < len(w.Waits) && w.Waits[i] != Nothing {
			lost = nothingCame(l, w, w.Waits[i], frames, end)
		}
		all = append(all, lost...)
	}
	if len(all) == 0 {
		return nil
	}
	most := slices.MaxFunc(all, func(a, b path.Loss) int { return cmp.Compare(a.Count, b.Count) })
	most.Time = end
	return &most
}

// nothingCame is the loss of all that an asker sent, where none of it came to a device. A
// kernel that does not know its neighbour keeps what it sends, and asks by ARP: then the
// packets are not lost there.
func nothingCame(l Leg, w Way, waits Waits, frames []Frame, end time.Time) []path.Loss {
	if end.Sub(w.Began) < resolves {
		return nil
	}
	for _, f := range frames {
		if f.ARP == 1 && f.Out && f.Point == l.Points[0] {
			return nil
		}
		if f.ARP == 0 && slices.Contains(l.Points, f.Point) && !f.Answer && (waits != SYN || f.Flags&syn != 0) { // older connections' packets prove nothing
			return nil
		}
	}
	first := w.Points[l.Points[0]]
	what := "packets"
	if waits == SYN {
		what = "SYNs"
	}
	return []path.Loss{{After: l.Asker, Before: first.Name, Hop: first.Hop, What: what, Count: 1, Of: 1,
		Evidence: []string{l.Asker + " has sent something, and no packet of it came to " + first.Name}}}
}

func newLeg(l Leg, points []Point, frames []Frame, end time.Time) *leg {
	s := &leg{Leg: l, points: points, end: end, seen: make([]map[packet]sight, len(l.Points)), acks: make([]map[acked]uint32, len(l.Points)), resets: make([]map[uint16]bool, len(l.Points)), arp: make([]arps, len(l.Points))}
	for i := range l.Points {
		s.seen[i], s.acks[i], s.resets[i] = map[packet]sight{}, map[acked]uint32{}, map[uint16]bool{}
	}
	for _, f := range frames {
		if i := slices.Index(l.Points, f.Point); i >= 0 {
			s.take(i, f)
		}
	}
	return s
}

func (l *leg) take(i int, f Frame) {
	if f.ARP != 0 {
		a := &l.arp[i]
		switch {
		case f.ARP == 1 && f.Out:
			if a.requests == 0 {
				a.firstAsks = f.At
			}
			a.requests++
			a.lastAsks = f.At
		case f.ARP == 2 && !f.Out:
			if a.replies == 0 {
				a.firstReply = f.At
			}
			a.replies++
		}
		return
	}
	if f.Flags&ack != 0 {
		who := acked{f.Client, f.Answer}
		if was, ok := l.acks[i][who]; !ok || after(f.Ack, was) {
			l.acks[i][who] = f.Ack
		}
	}
	if f.Answer && f.Flags&rst != 0 {
		l.resets[i][f.Client] = true
	}
	if f.Len == 0 && f.Flags&(syn|rst) == 0 || f.Flags&rst != 0 && !f.Answer {
		return
	}
	p := packet{f.Client, f.Answer, f.Seq, f.Flags&syn != 0}
	s, ok := l.seen[i][p]
	if !ok {
		s = sight{first: f.At, len: f.Len}
	}
	s.times++
	s.last, s.len = f.At, max(s.len, f.Len)
	l.seen[i][p] = s
}

func after(a, b uint32) bool { return int32(a-b) > 0 }

// losses are all stretches where packets were lost.
func (l *leg) losses() (all []path.Loss) {
	last := len(l.Points) - 1
	for i := range last {
		all = append(all, l.between(i, i+1, false)...)
	}
	all = append(all, l.behind(last)...)
	for i := last; i > 0; i-- {
		all = append(all, l.between(i, i-1, true)...)
	}
	return append(all, l.before()...)
}

func (l *leg) at(i int) Point { return l.points[l.Points[i]] }

// between is what was seen at one point and not at the next.
func (l *leg) between(i, next int, answer bool) []path.Loss {
	of, lost, syns := 0, 0, 0
	for p, s := range l.seen[i] {
		if p.answer != answer || l.end.Sub(s.first) < passes {
			continue
		}
		of++
		if !l.covered(next, p) {
			lost++
			if p.syn {
				syns++
			}
		}
	}
	if lost == 0 {
		return nil
	}
	what := whatOf(answer, lost, syns)
	return []path.Loss{{After: l.at(i).Name, Before: l.at(next).Name, Hop: l.at(next).Hop, Back: answer, What: what, Count: lost, Of: of,
		Evidence: []string{fmt.Sprintf("%d of %d %s that %s saw did not come to %s", lost, of, what, l.at(i).Name, l.at(next).Name)}}}
}

func whatOf(answer bool, lost, syns int) string {
	switch {
	case answer && syns == lost:
		return "SYN-ACKs"
	case answer:
		return "answers"
	case syns == lost:
		return "SYNs"
	}
	return "requests"
}

// covered says whether a packet was seen at a point, maybe joined with others.
func (l *leg) covered(i int, p packet) bool {
	if _, ok := l.seen[i][p]; ok {
		return true
	}
	for q, s := range l.seen[i] {
		if q.client == p.client && q.answer == p.answer && !p.syn && p.seq-q.seq < max(s.len, 1) {
			return true
		}
	}
	return false
}

// behind is what came to the last point, and got no answer from whoever is asked.
func (l *leg) behind(last int) (all []path.Loss) {
	of, lost, syns := 0, 0, 0
	for p, s := range l.seen[last] {
		if p.answer {
			continue
		}
		of++
		if l.end.Sub(s.first) < answers || l.answered(last, p, s) {
			continue
		}
		lost++
		if p.syn {
			syns++
		}
	}
	at := l.at(last)
	if lost > 0 {
		what := whatOf(false, lost, syns)
		all = append(all, path.Loss{After: at.Name, Before: l.Asked, Hop: l.AskedHop, What: what, Count: lost, Of: of,
			Evidence: []string{fmt.Sprintf("%d of %d %s that %s saw were not answered by %s, not even by its kernel", lost, of, what, at.Name, l.Asked)}})
	}
	switch a := l.arp[last]; {
	case of > 0 || a.requests == 0: // it is known
	case a.replies == 0 && l.end.Sub(a.firstAsks) >= answers:
		all = append(all, path.Loss{After: at.Name, Before: l.Asked, Hop: l.AskedHop, What: "ARP requests", Count: a.requests, Of: a.requests,
			Evidence: []string{fmt.Sprintf("%s saw %d ARP requests, and no reply by %s", at.Name, a.requests, l.Asked)}})
	case a.replies > 0 && a.lastAsks.Sub(a.firstReply) > passes:
		all = append(all, path.Loss{After: at.Name, Before: l.Asker, Hop: l.AskerHop, Back: true, What: "ARP replies", Count: a.replies, Of: a.replies,
			Evidence: []string{fmt.Sprintf("%s saw %d ARP replies, and was asked on: they do not come to the kernel of %s", at.Name, a.replies, l.Asker)}})
	}
	return all
}

// answered says whether whoever is asked has a packet: it acknowledged it, or answered
// by RST.
func (l *leg) answered(i int, p packet, s sight) bool {
	until := p.seq + max(s.len, 1)
	got, ok := l.acks[i][acked{p.client, true}]
	return ok && !after(until, got) || l.resets[i][p.client]
}

// before is the answers that came to the first point, and not to the asker.
func (l *leg) before() []path.Loss {
	of, lost, syns := 0, 0, 0
	for p, s := range l.seen[0] {
		if !p.answer {
			continue
		}
		of++
		until := p.seq + max(s.len, 1)
		got, ok := l.acks[0][acked{p.client, false}]
		if l.end.Sub(s.first) < answers || ok && !after(until, got) || l.resets[0][p.client] || !l.asksOn(p.client, s) {
			continue
		}
		lost++
		if p.syn {
			syns++
		}
	}
	if lost == 0 {
		return nil
	}
	what := whatOf(true, lost, syns)
	return []path.Loss{{After: l.at(0).Name, Before: l.Asker, Hop: l.AskerHop, Back: true, What: what, Count: lost, Of: of,
		Evidence: []string{fmt.Sprintf("%d of %d %s that %s saw were not acknowledged by %s, which asked again", lost, of, what, l.at(0).Name, l.Asker)}}}
}

// asksOn says whether a request was sent again after its answer had come, or the answer
// was: either says that it was not received.
func (l *leg) asksOn(client uint16, answer sight) bool {
	if answer.times > 1 {
		return true
	}
	for p, s := range l.seen[0] {
		if p.client == client && !p.answer && s.times > 1 && s.last.After(answer.first) {
			return true
		}
	}
	return false
}
