package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// row is one figure of all contenders, a value a round.
type row struct {
	what   string
	format string // of one value
	names  []string
	values map[string][]float64
	goals  []goal
}

// goal is what is promised of ours: so many times another's value, at least, or
// at most.
type goal struct {
	of     string // a contender
	factor float64
	most   bool
}

// tables are what the benchmarks of this run have found, in order.
var tables []*row

func newRow(what, format string, goals ...goal) *row {
	r := &row{what: what, format: format, values: make(map[string][]float64), goals: goals}
	tables = append(tables, r)
	return r
}

func (r *row) add(name string, v float64) {
	if !slices.Contains(r.names, name) {
		r.names = append(r.names, name)
	}
	r.values[name] = append(r.values[name], v)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 0 {
		return (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return v[len(v)/2]
}

// ratio is the median over the rounds of one contender's value by another's.
func (r *row) ratio(a, b string) float64 {
	var ratios []float64
	for i := range min(len(r.values[a]), len(r.values[b])) {
		ratios = append(ratios, r.values[a][i]/r.values[b][i])
	}
	return median(ratios)
}

// printTables prints the rows as Markdown, those with the same contenders under
// one head.
func printTables() {
	if built != "" {
		os.RemoveAll(filepath.Dir(built))
	}
	var head []string
	for _, r := range tables {
		if slices.ContainsFunc(r.names, func(name string) bool { return len(r.values[name]) == 0 }) {
			continue
		}
		if !slices.Equal(head, r.names) {
			head = r.names
			fmt.Printf("\n| | %s | promised |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)+2))
		}
		cells := []string{r.what}
		for _, name := range head {
			cells = append(cells, fmt.Sprintf(r.format, median(r.values[name])))
		}
		fmt.Printf("| %s | %s |\n", strings.Join(cells, " | "), r.verdict())
	}
}

// verdict says how each promise is kept.
func (r *row) verdict() string {
	var words []string
	for _, g := range r.goals {
		if len(r.values[g.of]) == 0 {
			continue
		}
		got := r.ratio(r.names[len(r.names)-1], g.of)
		sign, met := "≥", got >= g.factor
		if g.most {
			sign, met = "≤", got <= g.factor
		}
		mark := ""
		if !met {
			mark = " **missed**"
		}
		words = append(words, fmt.Sprintf("%.2f of %s (%s %.3g)%s", got, g.of, sign, g.factor, mark))
	}
	return strings.Join(words, "; ")
}
