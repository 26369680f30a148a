package monitoring

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

const dashboardsDir = "../../dashboards"

// query is one expression and where it stands.
type query struct {
	where   string
	expr    string // as PromQL, variables filled in
	written string // as it stands in the file
	panel   bool
	instant bool
}

// variables stand for what Grafana fills in.
var variables = strings.NewReplacer(
	"$__rate_interval", "1m",
	"$job", ".+",
	"$instance", ".+",
	"$sandbox", ".+",
)

// dashboard is the part of a dashboard's JSON that the tests look at.
type dashboard struct {
	Title      string
	Editable   *bool
	Templating struct {
		List []struct {
			Name, Type, Query string
			Datasource        *struct{ UID string }
		}
	}
	Annotations struct{ List []struct{ Name, Expr string } }
	Panels      []panel
}

type panel struct {
	Type, Title, Description string
	Datasource               *struct{ UID string }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct {
		Expr       string
		Instant    bool
		Datasource *struct{ UID string }
	}
}

func readDashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dashboardsDir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	out := map[string]dashboard{}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[filepath.Base(name)] = d
	}
	return out
}

func panelQueries(t *testing.T) []query {
	t.Helper()
	var out []query
	for name, d := range readDashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				out = append(out, query{
					where: name + ": " + p.Title, expr: variables.Replace(target.Expr),
					written: target.Expr, panel: true, instant: target.Instant,
				})
			}
		}
	}
	return out
}

// annotationQueries are what marks times in graphs. Most of the time nothing does.
func annotationQueries(t *testing.T) (out []query) {
	t.Helper()
	for name, d := range readDashboards(t) {
		for _, a := range d.Annotations.List {
			if a.Expr != "" {
				out = append(out, query{where: name + ": " + a.Name, expr: variables.Replace(a.Expr), written: a.Expr, panel: true})
			}
		}
	}
	return out
}

// rule is an alerting or a recording rule.
type rule struct {
	Alert       string
	Record      string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dashboardsDir, "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) == 0 {
		t.Fatal("no rules")
	}
	return out
}

func ruleQueries(t *testing.T) []query {
	t.Helper()
	var out []query
	for _, r := range readRules(t) {
		out = append(out, query{where: r.Alert + r.Record, expr: r.Expr, written: r.Expr, instant: true})
	}
	return out
}

func parse(t *testing.T, q query) parser.Expr {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(q.expr)
	if err != nil {
		t.Fatalf("%s: %v\n%s", q.where, err, q.expr)
	}
	return e
}

// selectors are the metrics that an expression reads.
func selectors(e parser.Node) []*parser.VectorSelector {
	var out []*parser.VectorSelector
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			out = append(out, s)
		}
		return nil
	})
	return out
}
