package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// hops sends what was measured of requests.
func (e emitter) hops(slots []*path.Slot, h *flow.Stats) {
	bound := map[netns.Cookie]*path.Slot{}
	for _, slot := range slots {
		if slot.Sandbox != nil {
			bound[slot.Cookie] = slot
		}
	}
	for _, hop := range flow.Hops {
		of := h.Hops[hop]
		e.ch <- hopMetric(hopLatency, &of, h.Began, exemplars(h.Recent[hop], bound), string(hop))
	}
	for i := range h.Parts {
		p := &h.Parts[i]
		e.ch <- hopMetric(hopPart, &p.Histogram, h.Began, nil, string(p.Hop), p.Part)
	}
	for cookie, of := range h.Sandboxes {
		if slot := bound[cookie]; slot != nil {
			for i, hop := range flow.Hops {
				e.ch <- hopMetric(sandboxHopLatency, &of[i].Histogram, of[i].Began, nil, slot.Sandbox.ID, slot.Netns, string(hop))
			}
		}
	}
	e.counter(sandboxHopsLeftOut, h.LeftOut)
	for _, j := range h.Joined {
		e.counterSince(flowJoined, h.Began, j.Count, string(j.Hop), j.How)
	}
	for _, u := range h.Unjoined {
		e.counterSince(flowUnjoined, h.Began, u.Count, string(u.Hop), u.Reason)
	}
	for _, f := range h.Failed {
		e.counterSince(connectFailures, h.Began, f.Count, string(f.Hop), errnoName(f.Errno))
	}
	for _, c := range h.Connections {
		e.gauge(connections, float64(c.Now), c.Layer, c.Layer, c.Side, c.State)
	}
	e.counterSince(flowUnsplit, h.Began, h.Unsplit)
	e.counterSince(flowNegative, h.Began, h.Negative)
}

// seenUp sends nothing where nothing was seen.
func (e emitter) seenUp(s *path.Slot) {
	if s.Requests != nil {
		for outcome, n := range s.Requests.Totals {
			e.counter(requests, n, s.Sandbox.ID, s.Netns, string(outcome))
		}
	}
	for hop, seen := range s.Seen {
		if !seen.Good.IsZero() || !seen.Bad.IsZero() {
			e.gauge(pathSeenUp, boolFloat(!seen.Bad.After(seen.Good)), s.Sandbox.ID, s.Netns, string(hop), "traffic")
		}
	}
	for hop, up := range s.Shown() {
		e.gauge(pathSeenUp, boolFloat(up), s.Sandbox.ID, s.Netns, string(hop), "probe")
	}
}

func errnoName(n unix.Errno) string {
	if n == 0 {
		return "GAVE_UP"
	}
	if name := unix.ErrnoName(n); name != "" {
		return name
	}
	return n.Error()
}

// exemplars are of the sandboxes that are still there, by the place of the
// histogram that they fell into.
func exemplars(recent []flow.Sample, bound map[netns.Cookie]*path.Slot) map[int]*dto.Exemplar {
	all := map[int]*dto.Exemplar{}
	for _, r := range recent {
		if slot := bound[r.Netns]; slot != nil {
			all[r.Place] = &dto.Exemplar{
				Label:     []*dto.LabelPair{{Name: proto.String("sandbox_id"), Value: proto.String(slot.Sandbox.ID)}},
				Value:     proto.Float64(r.Took.Seconds()),
				Timestamp: timestamppb.New(r.At),
			}
		}
	}
	return all
}

// histogramMetric is a classic and a native histogram in one, both exactly what the
// kernel counted: client_golang's constant ones are either.
type histogramMetric struct {
	desc *prometheus.Desc
	dto  dto.Metric
}

func (m *histogramMetric) Desc() *prometheus.Desc { return m.desc }

// Write implements prometheus.Metric.
func (m *histogramMetric) Write(out *dto.Metric) error {
	out.Label, out.Histogram = m.dto.Label, m.dto.Histogram
	return nil
}

func hopMetric(f *family, h *flow.Histogram, since time.Time, ex map[int]*dto.Exemplar, values ...string) prometheus.Metric {
	out := &dto.Histogram{
		SampleCount:      proto.Uint64(h.Count),
		SampleSum:        proto.Float64(h.Sum.Seconds()),
		CreatedTimestamp: timestamppb.New(since),
	}
	if f != sandboxHopLatency { // of thousands of sandboxes that would be 47 series each
		classic(out, h, ex)
	}
	native(out, h, ex)
	m := &histogramMetric{desc: f.desc, dto: dto.Metric{Histogram: out}}
	for _, i := range f.order {
		m.dto.Label = append(m.dto.Label, &dto.LabelPair{Name: proto.String(f.labels[i]), Value: proto.String(values[i])})
	}
	return m
}

// classicStep says whether a place is the end of a classic bucket: there is one an octave,
// and from 61 us to 16 s two, so that a quantile of what people ask about is known to
// within a factor of 1.41.
func classicStep(place int) bool {
	const fine, coarse = (-14 - flow.FirstOctave) * flow.Steps, (4 - flow.FirstOctave) * flow.Steps
	if place > fine && place < coarse {
		return place%(flow.Steps/2) == 0
	}
	return place%flow.Steps == 0
}

// classic has the buckets of classicStep.
func classic(out *dto.Histogram, h *flow.Histogram, ex map[int]*dto.Exemplar) {
	var sum uint64
	for i, n := range h.Places[:len(h.Places)-1] { // the last is the library's own +Inf
		sum += n
		if classicStep(i) {
			out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: proto.Uint64(sum), UpperBound: proto.Float64(flow.Bound(i))})
		}
	}
	for place, e := range ex {
		bucket := 0
		for i := range place {
			if classicStep(i) {
				bucket++
			}
		}
		if bucket < len(out.Bucket) {
			out.Bucket[bucket].Exemplar = e
		}
	}
}

// native has the buckets of schema 3; what is below the first is its zero bucket.
func native(out *dto.Histogram, h *flow.Histogram, ex map[int]*dto.Exemplar) {
	out.Schema = proto.Int32(3)
	out.ZeroThreshold = proto.Float64(flow.Bound(0))
	out.ZeroCount = proto.Uint64(h.Places[0])
	last, before := -1, int64(0)
	for i, n := range h.Places[1:] {
		if n == 0 {
			continue
		}
		switch gap := i - last - 1; {
		case last < 0: // the offset of the first is its index
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(int32(flow.FirstOctave*flow.Steps + i + 1)), Length: proto.Uint32(0)})
		case gap > 0:
			out.PositiveSpan = append(out.PositiveSpan, &dto.BucketSpan{Offset: proto.Int32(int32(gap)), Length: proto.Uint32(0)})
		}
		span := out.PositiveSpan[len(out.PositiveSpan)-1]
		span.Length = proto.Uint32(span.GetLength() + 1)
		out.PositiveDelta = append(out.PositiveDelta, int64(n)-before)
		last, before = i, int64(n)
	}
	if len(out.PositiveSpan) == 0 { // tells that it is a native one
		out.PositiveSpan = []*dto.BucketSpan{{Offset: proto.Int32(0), Length: proto.Uint32(0)}}
	}
	for _, e := range ex {
		out.Exemplars = append(out.Exemplars, e)
	}
	slices.SortFunc(out.Exemplars, func(a, b *dto.Exemplar) int {
		return a.GetTimestamp().AsTime().Compare(b.GetTimestamp().AsTime())
	})
}
