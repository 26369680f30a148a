package metrics

import (
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of slots as text. A host may have a hundred thousand of them, of
// which the library would make an object each, check it, and write it: 55 ms and
// 25 MB for a thousand sandboxes, against a few of both. TestTextIsTheLibrarys
// holds that it says the same.

// slotText is the lines of all slots, by family.
type slotText struct {
	openMetrics bool
	of          map[*family]*lines
}

type lines struct {
	typ  prometheus.ValueType
	text []byte
}

// writeSlots writes the metrics of slots in the text format of Prometheus, or in
// that of OpenMetrics without its end.
func writeSlots(w io.Writer, s Snapshot, openMetrics bool) error {
	t := slotText{openMetrics: openMetrics, of: map[*family]*lines{}}
	defer t.free()
	e := emitter{send: t.add}
	for _, v := range s.Slots {
		e.slot(v)
	}
	for _, v := range s.Gone {
		e.gone(v)
	}
	families := make([]*family, 0, len(t.of))
	for f := range t.of {
		families = append(families, f)
	}
	slices.SortFunc(families, func(a, b *family) int { return strings.Compare(a.name, b.name) })
	for _, f := range families {
		if _, err := w.Write(t.header(f)); err != nil {
			return err
		}
		if _, err := w.Write(t.of[f].text); err != nil {
			return err
		}
	}
	return nil
}

func (t *slotText) free() {
	for f, l := range t.of {
		l.text = l.text[:0]
		f.buffers.Put(&l.text)
	}
}

// header is the lines before a family's metrics. OpenMetrics calls a counter by
// its name without the suffix there.
func (t *slotText) header(f *family) []byte {
	name, typ := f.name, "gauge"
	if t.of[f].typ == prometheus.CounterValue {
		typ = "counter"
		if t.openMetrics {
			name = strings.TrimSuffix(name, "_total")
		}
	}
	help := escapeHelp.Replace(f.help)
	if t.openMetrics {
		help = escapeLabel.Replace(f.help)
	}
	return []byte("# HELP " + name + " " + help + "\n# TYPE " + name + " " + typ + "\n")
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// add is an emitter's send. When a counter began is told to those that ask for
// the protocol buffer format.
func (t *slotText) add(f *family, typ prometheus.ValueType, v float64, _ time.Time, values []string) {
	l := t.of[f]
	if l == nil {
		l = &lines{typ: typ}
		if b, ok := f.buffers.Get().(*[]byte); ok {
			l.text = *b
		}
		t.of[f] = l
	}
	b := append(l.text, f.name...)
	for n, i := range f.order {
		b = append(b, separator(n))
		b = append(b, f.labels[i]...)
		b = append(b, `="`...)
		b = appendEscaped(b, values[i])
		b = append(b, '"')
	}
	if len(values) > 0 {
		b = append(b, '}')
	}
	b = append(b, ' ')
	l.text = append(t.number(b, v), '\n')
}

func separator(n int) byte {
	if n == 0 {
		return '{'
	}
	return ','
}

func appendEscaped(b []byte, s string) []byte {
	if !plain(s) {
		s = strings.ToValidUTF8(escapeLabel.Replace(s), "\uFFFD")
	}
	return append(b, s...)
}

// plain says that a label's value is written as it is. Nearly all are, and three
// are looked at for each line: a loop of its own is a third quicker over all.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c == '\\' || c == '"' || c == '\n' {
			return false
		}
	}
	return true
}

// number writes a value; OpenMetrics wants to see that it is no integer.
func (t *slotText) number(b []byte, v float64) []byte {
	start := len(b)
	if v >= 0 && v < 1e6 && v == math.Trunc(v) && !t.openMetrics { // as 'g' writes it, at a fifth of the time
		return strconv.AppendUint(b, uint64(v), 10)
	}
	b = strconv.AppendFloat(b, v, 'g', -1, 64)
	if t.openMetrics && !strings.ContainsAny(string(b[start:]), "e.NI") {
		b = append(b, ".0"...)
	}
	return b
}
