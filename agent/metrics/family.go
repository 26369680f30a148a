package metrics

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// family is one metric's name, help text and labels.
type family struct {
	desc       *prometheus.Desc
	name, help string
	labels     []string // as values are given for them
	order      []int    // of labels, by name: as they are written
}

func newFamily(name, help string, labels []string) *family {
	f := &family{desc: prometheus.NewDesc(name, help, labels, nil), name: name, help: help, labels: labels}
	for i := range labels {
		f.order = append(f.order, i)
	}
	slices.SortFunc(f.order, func(a, b int) int { return strings.Compare(labels[a], labels[b]) })
	return f
}

// sample is one metric of a slot.
type sample struct {
	family *family
	metric *dto.Metric
}

// samples makes the metrics of one slot. Pairs of label and value are shared
// among them: a slot's name is in all.
type samples struct {
	all   []sample
	pairs []*dto.LabelPair
}

func (s *samples) add(f *family, typ prometheus.ValueType, v float64, since time.Time, values []string) {
	m := &dto.Metric{Label: make([]*dto.LabelPair, len(values))}
	for at, i := range f.order {
		m.Label[at] = s.pair(&f.labels[i], values[i])
	}
	if typ == prometheus.CounterValue {
		m.Counter = &dto.Counter{Value: &v}
		if !since.IsZero() {
			m.Counter.CreatedTimestamp = timestamppb.New(since)
		}
	} else {
		m.Gauge = &dto.Gauge{Value: &v}
	}
	s.all = append(s.all, sample{f, m})
}

func (s *samples) pair(name *string, value string) *dto.LabelPair {
	for _, p := range s.pairs {
		if *p.Value == value && *p.Name == *name {
			return p
		}
	}
	p := &dto.LabelPair{Name: name, Value: &value}
	s.pairs = append(s.pairs, p)
	return p
}
