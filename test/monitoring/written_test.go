package monitoring

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

func TestDashboardsFitAnyGrafana(t *testing.T) {
	for name, d := range readDashboards(t) {
		if d.Editable == nil || *d.Editable {
			t.Errorf("%s: must not be editable: changes would be lost at the next import", name)
		}
		if i := slices.IndexFunc(d.Templating.List, func(v struct {
			Name, Type, Query string
			Datasource        *struct{ UID string }
		}) bool {
			return v.Name == "datasource" && v.Type == "datasource" && v.Query == "prometheus"
		}); i != 0 {
			t.Errorf("%s: the first variable must choose the data source", name)
		}
		for _, p := range d.Panels {
			if p.Type != "row" {
				checkPanel(t, name, p)
			}
		}
	}
}

func checkPanel(t *testing.T, name string, p panel) {
	t.Helper()
	if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s: panel %q needs a title, a description and a unit", name, p.Title)
	}
	if len(p.Targets) == 0 {
		t.Errorf("%s: panel %q asks nothing", name, p.Title)
	}
	if p.Datasource == nil || p.Datasource.UID != "${datasource}" {
		t.Errorf("%s: panel %q must take the chosen data source", name, p.Title)
	}
	for _, target := range p.Targets {
		if target.Datasource == nil || target.Datasource.UID != "${datasource}" {
			t.Errorf("%s: a query of panel %q must take the chosen data source", name, p.Title)
		}
	}
}

// TestSelectorsSayWhoseSeries: without a job another exporter's series may come
// in, without $instance a panel ignores what was chosen.
func TestSelectorsSayWhoseSeries(t *testing.T) {
	for _, q := range slices.Concat(panelQueries(t), ruleQueries(t)) {
		for _, s := range selectors(parse(t, q)) {
			has := func(label string) bool {
				for _, m := range s.LabelMatchers {
					if m.Name == label {
						return true
					}
				}
				return false
			}
			if !has("job") || q.panel && !has("instance") {
				t.Errorf("%s: %s selects from any job or instance", q.where, s)
			}
		}
		if q.panel && strings.Count(q.written, `job=~"$job", instance=~"$instance"`) != len(selectors(parse(t, q))) {
			t.Errorf("%s: not every selector takes $job and $instance: %s", q.where, q.written)
		}
	}
}

// TestCountersAreRated: a counter's own value says nothing, and gauges have no rate.
func TestCountersAreRated(t *testing.T) {
	isCounter := regexp.MustCompile(`_(total|bucket|sum|count)$`)
	for _, q := range slices.Concat(panelQueries(t), ruleQueries(t)) {
		parser.Inspect(parse(t, q), func(n parser.Node, path []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			rated := len(path) >= 2 && isRate(path[len(path)-2])
			presence := q.where == "TapwatchTapUnwatched" // asks whether the series is there
			if isCounter.MatchString(s.Name) != rated && !presence {
				t.Errorf("%s: counters, and only they, go under rate or increase: %s", q.where, q.expr)
			}
			return nil
		})
		for _, r := range regexp.MustCompile(`\[[^\]]*\]`).FindAllString(q.written, -1) {
			if q.panel && r != "[$__rate_interval]" {
				t.Errorf("%s: %s does not follow the scrape interval and the zoom", q.where, r)
			}
		}
	}
}

// TestJoinsAreOnTheFullKey: sandboxes may share a namespace's name, "" among
// them, so a join without sandbox_id lets one sandbox answer for another.
func TestJoinsAreOnTheFullKey(t *testing.T) {
	perHost := [][]string{{"job", "instance"}, {"job", "instance", "hop"}}
	for _, q := range ruleQueries(t) {
		parser.Inspect(parse(t, q), func(n parser.Node, _ []parser.Node) error {
			b, ok := n.(*parser.BinaryExpr)
			if !ok || b.VectorMatching == nil || b.LHS.Type() != parser.ValueTypeVector || b.RHS.Type() != parser.ValueTypeVector {
				return nil
			}
			on := b.VectorMatching.MatchingLabels
			if !b.VectorMatching.On {
				// Two sums by the same labels join on just these.
				l, lok := b.LHS.(*parser.AggregateExpr)
				r, rok := b.RHS.(*parser.AggregateExpr)
				if !lok || !rok || !slices.Equal(l.Grouping, r.Grouping) {
					t.Errorf("%s: a join without on (...): %s", q.where, b)
				}
				return nil
			}
			host := slices.ContainsFunc(perHost, func(key []string) bool { return slices.Equal(key, on) })
			full := true
			for _, label := range []string{"job", "instance", "netns", "sandbox_id"} {
				full = full && slices.Contains(on, label)
			}
			if !full && (!host || readsSandboxes(b.LHS) && readsSandboxes(b.RHS)) {
				t.Errorf("%s: a join of sandboxes on %v: %s", q.where, on, b)
			}
			return nil
		})
	}
}

// readsSandboxes reports whether an expression has a vector for each sandbox.
func readsSandboxes(e parser.Expr) bool {
	switch e := e.(type) {
	case *parser.AggregateExpr:
		return !(e.Without) && slices.Contains(e.Grouping, "sandbox_id")
	case *parser.VectorSelector:
		return !strings.Contains(e.Name, ":") // what is recorded has no sandbox_id
	case *parser.Call:
		return slices.ContainsFunc(e.Args, readsSandboxes)
	case *parser.MatrixSelector:
		return readsSandboxes(e.VectorSelector)
	case *parser.ParenExpr:
		return readsSandboxes(e.Expr)
	case *parser.BinaryExpr:
		return readsSandboxes(e.LHS) || readsSandboxes(e.RHS)
	}
	return false
}

func isRate(n parser.Node) bool {
	c, ok := n.(*parser.Call)
	return ok && (c.Func.Name == "rate" || c.Func.Name == "increase")
}

func TestRulesTellWhatToDo(t *testing.T) {
	for _, r := range readRules(t) {
		if r.Record != "" {
			continue
		}
		for _, key := range []string{"summary", "description", "runbook_url"} {
			if r.Annotations[key] == "" {
				t.Errorf("%s: no %s", r.Alert, key)
			}
		}
		if s := r.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		absent := strings.Contains(r.Expr, "absent(")
		for key, text := range r.Annotations {
			if absent && strings.Contains(text, "$labels.instance") {
				t.Errorf("%s: %s names an instance, which absent() does not have", r.Alert, key)
			}
		}
	}
}
