package metrics

import (
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of slots as text. A host may have a hundred thousand of them, of
// which the library would make an object each, check it, and write it: 55 ms and
// 25 MB for a thousand sandboxes, against a few of both. TestTextIsTheLibrarys
// holds that it says the same.

// slotText is the lines of some slots, by family.
type slotText struct {
	openMetrics bool
	of          map[*family]*lines
}

type lines struct {
	typ  prometheus.ValueType
	full [][]byte
	text []byte // the last page, that has room
}

// page is memory for lines. A family's lines are many of them rather than one text
// that grows, of which half would be room and as much again garbage.
type page [8 << 10]byte

// pages keeps them for the next scrape, until the garbage collector wants them.
var pages = sync.Pool{New: func() any { return new(page) }}

// lineRoom is what is left of a page that is full: hardly a line is longer, and one
// that is moves to memory of its own.
const lineRoom = 512

func (l *lines) all() [][]byte { return append(l.full, l.text) }

func (l *lines) turn() {
	if l.text != nil {
		l.full = append(l.full, l.text)
	}
	l.text = pages.Get().(*page)[:0]
}

// together is how many slots are worth a thread of their own.
const together = 256

// writeSlots writes the metrics of slots in the text format of Prometheus, or in
// that of OpenMetrics without its end.
func writeSlots(w io.Writer, s Snapshot, openMetrics bool) error {
	parts := render(s, openMetrics)
	of := map[*family][]*lines{}
	for _, t := range parts {
		defer t.free()
		for f, l := range t.of {
			of[f] = append(of[f], l)
		}
	}
	families := slices.SortedFunc(maps.Keys(of), func(a, b *family) int { return strings.Compare(a.name, b.name) })
	for _, f := range families {
		if _, err := w.Write(header(f, of[f][0].typ, openMetrics)); err != nil {
			return err
		}
		for _, l := range of[f] {
			for _, text := range l.all() {
				if _, err := w.Write(text); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// render makes the lines of many slots on all CPUs: who scrapes waits for them.
func render(s Snapshot, openMetrics bool) (parts []*slotText) {
	size := max(together, (len(s.Slots)+runtime.GOMAXPROCS(0)-1)/runtime.GOMAXPROCS(0))
	dups := duplicates(s.Slots)
	var g sync.WaitGroup
	for first := 0; first < len(s.Slots); first += size {
		t := newSlotText(openMetrics)
		parts = append(parts, t)
		g.Go(func() {
			e := emitter{send: t.add, detail: s.Detail}
			for n := first; n < min(first+size, len(s.Slots)); n++ {
				e.slot(s.Slots[n], dups[n])
			}
		})
	}
	last := newSlotText(openMetrics)
	e := emitter{send: last.add, detail: s.Detail}
	for _, v := range s.Gone {
		e.gone(v)
	}
	g.Wait()
	return append(parts, last)
}

func newSlotText(openMetrics bool) *slotText {
	return &slotText{openMetrics: openMetrics, of: map[*family]*lines{}}
}

func (t *slotText) free() {
	for _, l := range t.of {
		for _, text := range l.all() {
			if cap(text) == len(page{}) {
				pages.Put((*page)(text[:len(page{})]))
			}
		}
	}
}

// header is the lines before a family's metrics. OpenMetrics calls a counter by
// its name without the suffix there.
func header(f *family, of prometheus.ValueType, openMetrics bool) []byte {
	name, typ := f.name, "gauge"
	if of == prometheus.CounterValue {
		typ = "counter"
		if openMetrics {
			name = strings.TrimSuffix(name, "_total")
		}
	}
	help := escapeHelp.Replace(f.help)
	if openMetrics {
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
		t.of[f] = l
	}
	if cap(l.text)-len(l.text) < lineRoom {
		l.turn()
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
