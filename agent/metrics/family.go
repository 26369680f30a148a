package metrics

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// family is one metric's name, help text and labels.
type family struct {
	desc       *prometheus.Desc
	name, help string
	labels     []string // as values are given for them
	order      []int    // of labels, by name: as they are written
	typ        string
	detail     bool // told only where the operator wants all
}

// families are all that there are, in the order of names.go.
var families []*family

func newFamily(name, help string, labels []string) *family {
	f := &family{desc: prometheus.NewDesc(name, help, labels, nil), name: name, help: help, labels: labels, typ: "gauge"}
	if strings.HasSuffix(name, "_total") {
		f.typ = "counter"
	}
	families = append(families, f)
	for i := range labels {
		f.order = append(f.order, i)
	}
	slices.SortFunc(f.order, func(a, b int) int { return strings.Compare(labels[a], labels[b]) })
	return f
}
