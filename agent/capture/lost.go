package capture

import (
	"fmt"
	"time"
)

// passes is how long a packet may take from one device to the next. What was seen later
// than that before the end, or sooner after the begin, is not judged.
const passes = 150 * time.Millisecond

// Lost is how many packets of those that came to one point did not come to the next.
type Lost struct {
	After, Before string
	Count, Of     int
}

// conversation is who sends to whom, at one point in one direction.
type conversation struct {
	proto    byte
	from, to uint16
}

// passed is what was seen at one point in one direction.
type passed struct {
	same     map[uint64]int             // frames by hash, so often
	segments map[conversation][]segment // of TCP
}

type segment struct{ seq, length uint32 }

// MarkLost gives each frame that did not come to the next point a comment that says so,
// and counts them. Of a pair where frames were missed for want of speed nothing is said:
// it returns their names.
func (r *Recording) MarkLost(pairs []Pair) (lost []Lost, unknown []string) {
	packets := make([]packet, len(r.Frames))
	for i, f := range r.Frames {
		packets[i] = parse(f.Data, r.Points[f.Point].ethernet)
	}
	for _, p := range pairs {
		if r.Missed[p.Near]+r.Missed[p.Far] > 0 || r.Full {
			unknown = append(unknown, r.Points[p.Near].Device+" and "+r.Points[p.Far].Device)
			continue
		}
		for _, toGuest := range []bool{true, false} {
			if l := r.markBetween(packets, p, toGuest); l.Count > 0 {
				lost = append(lost, l)
			}
		}
	}
	return lost, unknown
}

// markBetween marks what left one point of a pair for the other and did not come there.
// Requests leave the veth's host end and come in at its peer; from there a kernel
// passes them on, in at the peer and out at the tap.
func (r *Recording) markBetween(packets []packet, p Pair, toGuest bool) Lost {
	from, to := p.Near, p.Far
	out := true // how a frame passes the first point, where both are ends of one cable
	if !toGuest {
		from, to = p.Far, p.Near
	}
	if p.Service != 0 { // through a kernel: in here, out there
		out = false
	}
	came := r.passed(packets, to, !out)
	l := Lost{After: r.Points[from].Device, Before: r.Points[to].Device}
	for i := range r.Frames {
		f, k := &r.Frames[i], packets[i]
		if f.Point != from || f.Out != out || !k.known || r.Ended.Sub(f.At) < passes {
			continue
		}
		if p.Service != 0 && (k.proto != tcp || toGuest && k.to != p.Service || !toGuest && k.from != p.Service) {
			continue
		}
		l.Of++
		if !came.has(k) {
			l.Count++
			f.Comment = fmt.Sprintf("lost: it did not come to %s, the next point", l.Before)
		}
	}
	return l
}

func (r *Recording) passed(packets []packet, point int, out bool) passed {
	p := passed{map[uint64]int{}, map[conversation][]segment{}}
	for i, f := range r.Frames {
		k := packets[i]
		if f.Point != point || f.Out != out || !k.known {
			continue
		}
		p.same[k.hash]++
		if k.proto == tcp && k.length > 0 {
			c := conversation{k.proto, k.from, k.to}
			p.segments[c] = append(p.segments[c], segment{k.seq, k.length})
		}
	}
	return p
}

// has takes a packet from those that came; false: it is not among them. A TCP segment
// may have come joined with others, or cut.
func (p *passed) has(k packet) bool {
	if p.same[k.hash] > 0 {
		p.same[k.hash]--
		return true
	}
	if k.proto != tcp || k.length == 0 {
		return false
	}
	end := uint64(0) // of what is covered from k's begin on
	for _, s := range p.segments[conversation{k.proto, k.from, k.to}] {
		at := int64(int32(s.seq - k.seq))
		if last := at + int64(s.length); at <= int64(end) && last > int64(end) {
			end = uint64(last)
		}
	}
	return end >= uint64(k.length)
}
