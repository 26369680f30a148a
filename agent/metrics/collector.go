package metrics

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tapwatch/agent/flow"
	"tapwatch/agent/link"
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// Snapshot is what one scrape reads. It is not changed once handed out.
type Snapshot struct {
	Slots        []*path.Slot
	Gone         []*path.Slot             // taps of sandboxes that have gone: their counters only
	TapConnect   Histogram                // of all taps that there are and were
	Hops         func() *flow.Stats       // nil: not measured; it returns nil where that cannot be told
	Asked        map[Asked]uint64         // the agent's own questions to envd; nil: none are asked
	AskedTook    map[string]Histogram     // until their answers, by way
	BootPhases   map[path.Phase]Histogram // since the phase before
	Netlink      link.Stats
	Attach       map[string]Attach // by mode; those that were used
	AttachErrors map[string]uint64 // by reason
	Capabilities map[string]bool
	PathDrops    map[Dropped]uint64 // nil: unknown
	Detail       bool               // everything is wanted of each sandbox
	Counted      Counted
	Collectors   map[string]Collected
	Levels       path.Levels // checks that the operator switched off or demoted
	EventsLost   uint64
}

// Asked is where questions to envd entered the path, and what came of them.
type Asked struct{ Way, Result string }

// Dropped is which way packets went that the kernel dropped, and why.
type Dropped struct{ Direction, Reason string }

// Attach is what putting hooks on devices in one mode has come to.
type Attach struct {
	Devices int // that carry them now
	Took    Histogram
}

// Histogram is a classic histogram: Bounds are upper bounds, Counts one more
// than them and not cumulated.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

// Collector turns a snapshot into metrics. It reads no kernel state: a scrape
// waits for no lock of the kernel's and no device that vanishes can fail it.
type Collector struct {
	Snapshot func() Snapshot
	// What each slot has is left out, or all that the host has as a whole.
	withoutSlots, withoutHost bool
}

// Describe sends nothing: the collector is unchecked, as label values come and
// go with the sandboxes.
func (Collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.Snapshot()
	out := emitter{ch: ch, detail: s.Detail, send: func(d *family, typ prometheus.ValueType, v float64, since time.Time, labels []string) {
		if since.IsZero() {
			ch <- prometheus.MustNewConstMetric(d.desc, typ, v, labels...)
			return
		}
		ch <- prometheus.MustNewConstMetricWithCreatedTimestamp(d.desc, typ, v, since, labels...)
	}}
	if !c.withoutSlots {
		dups := duplicates(s.Slots)
		for i, v := range s.Slots {
			out.slot(v, dups[i])
		}
		for _, v := range s.Gone {
			out.gone(v)
		}
	}
	if c.withoutHost {
		return
	}
	out.states(s.Slots)
	out.happened(&s)
	out.histogram(tapConnect, s.TapConnect)
	if s.Hops != nil {
		if h := s.Hops(); h != nil {
			out.hops(s.Slots, h)
		}
	}
	for p, h := range s.BootPhases {
		out.histogram(bootPhase, h, string(p))
	}
	for a, n := range s.Asked {
		out.counter(healthProbes, n, a.Way, a.Result)
	}
	for d, n := range s.PathDrops {
		out.counter(pathDrop, n, d.Direction, d.Reason)
	}
	for way, h := range s.AskedTook {
		out.histogram(probeDuration, h, way)
	}
	out.agent(&s)
}

// states counts the taps of the host by their states.
func (e emitter) states(all []*path.Slot) {
	var n struct{ idle, bound, unidentified, unknown, stale int }
	for _, s := range all {
		switch {
		case s.Sandbox != nil:
			n.bound++
		case s.Unidentified != nil:
			n.unidentified++
		case isIdle(s):
			n.idle++
		default:
			n.unknown++
		}
		if operstateIsStale(s.Device) {
			n.stale++
		}
	}
	e.gauge(slots, float64(n.idle), "idle")
	e.gauge(slots, float64(n.bound), "bound")
	e.gauge(slots, float64(n.unidentified), "unidentified")
	e.gauge(slots, float64(n.unknown), "unknown")
	e.gauge(operstateStale, float64(n.stale))
	by := map[path.State]int{}
	dups := duplicates(all)
	for i, s := range all {
		if s.Sandbox != nil && !dups[i].sandbox {
			by[s.Diagnosis.State]++
		}
	}
	for _, state := range pathStates {
		e.gauge(sandboxes, float64(by[state]), string(state))
	}
}

// isIdle says whether a tap has no sandbox, and nobody holds it as far as is known.
func isIdle(s *path.Slot) bool {
	return s.Sandbox == nil && s.Unidentified == nil && path.Empty(&s.Device) == path.Idle
}

// emitter sends metrics on, one by one.
type emitter struct {
	send   func(d *family, typ prometheus.ValueType, v float64, since time.Time, labels []string)
	detail bool
	ch     chan<- prometheus.Metric // for histograms; nil for a slot's metrics, which have none
}

func (e emitter) gauge(d *family, v float64, labels ...string) {
	if d.detail && !e.detail {
		return
	}
	e.send(d, prometheus.GaugeValue, v, time.Time{}, labels)
}

func (e emitter) counter(d *family, v uint64, labels ...string) {
	e.counterSince(d, time.Time{}, v, labels...)
}

// counterSince says when it began to count, so that a counter that began anew is
// not taken for one that fell.
func (e emitter) counterSince(d *family, since time.Time, v uint64, labels ...string) {
	if d.detail && !e.detail {
		return
	}
	e.send(d, prometheus.CounterValue, float64(v), since, labels)
}

// state sends nothing for a fact that is unknown.
func (e emitter) state(d *family, t path.Tristate, labels ...string) {
	if t != path.Unknown {
		e.gauge(d, boolFloat(t == path.Yes), labels...)
	}
}

func (e emitter) histogram(d *family, h Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var total uint64
	for i, n := range h.Counts {
		total += n
		if i < len(h.Bounds) {
			buckets[seconds(h.Bounds[i])] = total
		}
	}
	e.ch <- prometheus.MustNewConstHistogram(d.desc, total, h.Sum.Seconds(), buckets, labels...)
}

// seconds rounds to whole nanoseconds, so that the bound of 4 us reads 4e-06.
func seconds(d time.Duration) float64 { return math.Round(float64(d)) / 1e9 }

// duplicate is what was sent before: the series of a device, or those of a sandbox.
type duplicate struct{ device, sandbox bool }

// duplicates says of each slot what one before it in its namespace has sent already: a
// sandbox may have several taps, and two VMMs may want one tap. No series may be sent
// twice: that would fail the whole scrape.
func duplicates(all []*path.Slot) []duplicate {
	dups := make([]duplicate, len(all))
	type series struct{ device, id string }
	devices, sandboxes := map[series]bool{}, map[string]int{}
	for i, s := range all {
		alone := (i == 0 || all[i-1].Netns != s.Netns) && (i+1 == len(all) || all[i+1].Netns != s.Netns)
		if alone {
			continue
		}
		if i == 0 || all[i-1].Netns != s.Netns {
			clear(devices)
			clear(sandboxes)
		}
		id := idOf(s)
		dups[i].device = devices[series{s.Device.Name, id}]
		devices[series{s.Device.Name, id}] = true
		if s.Sandbox == nil {
			continue
		}
		if first, sent := sandboxes[id]; !sent {
			sandboxes[id] = i
		} else if s.Diagnosis.Compare(&all[first].Diagnosis) > 0 { // the worst of its taps speaks for the sandbox
			dups[first].sandbox, sandboxes[id] = true, i
		} else {
			dups[i].sandbox = true
		}
	}
	return dups
}

func idOf(s *path.Slot) string {
	if s.Sandbox == nil {
		return ""
	}
	return s.Sandbox.ID
}

func (e emitter) slot(s *path.Slot, dup duplicate) {
	id := idOf(s)
	if !dup.device {
		e.device(s, s.Netns, s.Device.Name, id)
		if s.Sandbox != nil || isIdle(s) {
			e.gauge(slotBound, boolFloat(s.Sandbox != nil), s.Netns, s.Device.Name, id)
		}
	}
	if s.Sandbox != nil && !dup.sandbox {
		e.sandbox(s)
	}
}

func (e emitter) device(s *path.Slot, labels ...string) {
	e.state(networkCarrier, s.Device.Carrier, labels...)
	e.state(networkUp, s.Device.AdminUp, labels...)
	if s.Device.Holders != nil {
		e.gauge(tapHolders, float64(len(s.Device.Holders)), labels...)
		if s.Sandbox != nil {
			e.gauge(tapHoldersElsewhere, float64(elsewhere(s.Device.Holders)), labels...)
		}
		e.holders(s.Device.Holders, labels)
	}
	e.counters(s, labels...)
}

// gone sends what a tap that is there no more had counted.
func (e emitter) gone(s *path.Slot) { e.counters(s, s.Netns, s.Device.Name, s.Sandbox.ID) }

func (e emitter) counters(s *path.Slot, labels ...string) {
	if s.Device.Exists == path.Yes {
		e.counter(networkCarrierChanges, uint64(s.Device.Ups)+uint64(s.Device.Downs), labels...)
	}
	t := s.Traffic
	if t == nil || s.Sandbox == nil && s.Unidentified == nil { // an idle tap's say nothing, and there may be thousands
		return
	}
	var all []string // labels are copied by who gets them
	since := func(d *family, v uint64, last ...string) {
		all = append(append(all[:0], labels...), last...)
		e.counterSince(d, t.Since, v, all...)
	}
	since(networkReceivePackets, t.ReceivePackets)
	since(networkTransmitPackets, t.TransmitPackets)
	since(networkReceiveBytes, t.ReceiveBytes)
	since(networkTransmitBytes, t.TransmitBytes)
	since(networkResets, t.ReceiveResets, "receive", "guest")
	since(networkResets, t.KernelResets, "transmit", "kernel")
	relayed, forwarded := origins(s)
	if relayed || t.RelayResets > 0 {
		since(networkResets, t.RelayResets, "transmit", "relay")
	}
	if forwarded || t.ForwardedResets > 0 {
		since(networkResets, t.ForwardedResets, "transmit", "forwarded")
	}
	since(networkARP, t.ARPRequests, "request")
	since(networkARP, t.ARPReplies, "reply")
	since(networkSYN, t.SYNs, "sent")
	since(networkSYN, t.SYNRetransmits, "retransmitted")
	since(networkSYN, t.SYNACKs, "accepted")
	since(networkSYN, t.SYNsRefused, "refused")
	since(networkSYN, t.SYNsUnanswered, "unanswered")
	if t.Retransmits != nil {
		since(networkRetransmits, *t.Retransmits)
	}
	for reason, n := range t.TransmitDrops {
		since(networkTransmitDrop, n, reason)
	}
	if n := t.HiddenReceive; n != nil && (*n > 0 || e.detail) {
		e.counter(networkHidden, *n, append(labels[:len(labels):len(labels)], "receive")...)
	}
	if n := t.HiddenTransmit; n != nil && (*n > 0 || e.detail) {
		e.counter(networkHidden, *n, append(labels[:len(labels):len(labels)], "transmit")...)
	}
}

// origins says which resets to the guest a path of its shape can have: from a socket in
// the namespace, and from beyond it. Both where the shape is not known.
func origins(s *path.Slot) (relayed, forwarded bool) {
	if s.Sandbox == nil || s.Sandbox.Shape == "" {
		return true, true
	}
	relayed = s.Sandbox.Shape == registry.Relay || s.Sandbox.Shape == registry.Fused
	return relayed, !relayed
}

func (e emitter) sandbox(s *path.Slot) {
	b := s.Sandbox
	e.gauge(sandboxInfo, 1, b.ID, s.Netns, s.Device.Name, b.Name, b.TemplateID, b.BuildID, b.Source, string(b.Shape))
	if !b.Since.IsZero() {
		e.gauge(sandboxCreated, float64(b.Since.UnixMilli())/1000, b.ID, s.Netns)
	}
	for _, state := range pathStates {
		is := s.Diagnosis.State == state
		if is || state == path.OK || state == path.Broken || e.detail {
			e.gauge(pathState, boolFloat(is), b.ID, s.Netns, string(state))
		}
	}
	e.seenUp(s)
	for _, h := range s.Diagnosis.Hops {
		if h.State == path.OK || h.State == path.Broken {
			e.gauge(pathUp, boolFloat(h.State == path.OK), b.ID, s.Netns, string(h.Hop))
		}
	}
	if s.Silence != nil {
		e.gauge(sandboxSilenced, 1, b.ID, s.Netns)
	}
	if b.Team != "" {
		e.gauge(sandboxGroup, 1, b.ID, s.Netns, "team", b.Team)
	}
	for key, value := range b.Labels {
		e.gauge(sandboxGroup, 1, b.ID, s.Netns, key, value)
	}
	for _, f := range s.Diagnosis.Findings {
		if s.Silence != nil {
			break
		}
		e.gauge(finding, 1, b.ID, s.Netns, string(f.Hop), f.Code, string(f.Severity))
		if !f.Since.IsZero() {
			e.gauge(findingSince, float64(f.Since.UnixMilli())/1000, b.ID, s.Netns, string(f.Hop), f.Code)
		}
	}
}

func (e emitter) agent(s *Snapshot) {
	e.counter(netlinkEvents, s.Netlink.Events)
	e.counter(netlinkOverruns, s.Netlink.Overruns)
	e.counter(netlinkResyncs, s.Netlink.Resyncs)
	e.histogram(operstateLag, Histogram{Bounds: link.LagBounds, Counts: s.Netlink.OperstateLag.Counts, Sum: s.Netlink.OperstateLag.Sum})
	e.gauge(netlinkSynced, boolFloat(s.Netlink.Synced))
	for mode, a := range s.Attach {
		e.gauge(probeAttached, float64(a.Devices), mode)
		e.histogram(probeAttachDuration, a.Took, mode)
	}
	for reason, n := range s.AttachErrors {
		e.counter(probeAttachErrors, n, reason)
	}
	for name, have := range s.Capabilities {
		e.gauge(capability, boolFloat(have), name)
	}
	for _, level := range s.Levels.Lists() {
		for _, code := range level.Codes {
			e.gauge(checkDemoted, 1, code, string(cmp.Or(level.Most, "off")))
		}
	}
	e.counter(eventsLost, s.EventsLost)
}

// holders sends the names of the processes that hold a tap, each once.
func (e emitter) holders(all []path.Holder, labels []string) {
	for i, h := range all {
		if i == holdersMost {
			return
		}
		if !slices.ContainsFunc(all[:i], func(o path.Holder) bool { return o.Command == h.Command }) {
			e.gauge(tapHolderInfo, 1, append(labels[:len(labels):len(labels)], h.Command)...)
		}
	}
}

// holdersMost bounds how many holders of one tap are named.
const holdersMost = 4

func elsewhere(holders []path.Holder) (n int) {
	for _, h := range holders {
		if !h.SameNS {
			n++
		}
	}
	return n
}

// operstateIsStale says whether the operstate contradicts the carrier. One that
// is administratively down is down whatever its carrier.
func operstateIsStale(d path.Device) bool {
	return d.AdminUp == path.Yes &&
		(d.Carrier == path.No && d.Operstate == "up" || d.Carrier == path.Yes && d.Operstate == "down")
}

func boolFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
