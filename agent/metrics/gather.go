package metrics

import (
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"tapwatch/agent/path"
)

// Gatherer adds the metrics of the slots to those of a registry. It keeps those
// of a slot until that changes, and does without the registry's checks of every
// series at every scrape: of ten thousand slots few change between two scrapes.
type Gatherer struct {
	rest     prometheus.Gatherer
	snapshot func() Snapshot

	mu    sync.Mutex
	known map[*path.Slot][]sample // a slot's view is never changed: its pointer tells
}

// NewGatherer returns one that has gathered nothing yet.
func NewGatherer(rest prometheus.Gatherer, snapshot func() Snapshot) *Gatherer {
	return &Gatherer{rest: rest, snapshot: snapshot}
}

// Gather implements prometheus.Gatherer.
func (g *Gatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.rest.Gather()
	families = append(families, g.slots()...)
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(*a.Name, *b.Name) })
	return families, err
}

func (g *Gatherer) slots() []*dto.MetricFamily {
	views := g.snapshot().Slots
	g.mu.Lock()
	defer g.mu.Unlock()
	known := make(map[*path.Slot][]sample, len(views))
	byFamily := map[*family]*dto.MetricFamily{}
	var families []*dto.MetricFamily
	for _, v := range views {
		all, ok := g.known[v]
		if !ok {
			all = samplesOf(v)
		}
		known[v] = all
		for _, s := range all {
			f := byFamily[s.family]
			if f == nil {
				f = s.family.empty(s.metric)
				byFamily[s.family] = f
				families = append(families, f)
			}
			f.Metric = append(f.Metric, s.metric)
		}
	}
	g.known = known
	return families
}

func samplesOf(v *path.Slot) []sample {
	var s samples
	emitter{send: s.add}.slot(v)
	return slices.Clip(s.all)
}

// empty returns the family as it is gathered, of the type of its metrics.
func (f *family) empty(m *dto.Metric) *dto.MetricFamily {
	typ := dto.MetricType_GAUGE
	if m.Counter != nil {
		typ = dto.MetricType_COUNTER
	}
	return &dto.MetricFamily{Name: &f.name, Help: &f.help, Type: &typ}
}
