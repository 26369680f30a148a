// Package dashboards makes the Grafana dashboards from typed Go. Beside it stand
// what else watches the agents: alert rules with their tests, and samples of
// Prometheus', Alertmanager's and Grafana's configuration.
package dashboards

import (
	"bytes"
	"encoding/json"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

//go:generate go run ./generate

// The addresses of the dashboards in Grafana.
const (
	fleetUID   = "tapwatch-fleet"
	sandboxUID = "tapwatch-sandbox"
	agentUID   = "tapwatch-agent"
)

// All returns every dashboard by the name of its file.
func All() map[string]dashboard.Dashboard {
	return map[string]dashboard.Dashboard{"fleet.json": Fleet(), "sandbox.json": Sandbox(), "agent.json": Agent()}
}

// Files are all dashboards by their file: as Grafana reads them from a directory, and below
// import for people.
func Files() map[string][]byte {
	files := map[string][]byte{}
	for name, d := range All() {
		files[name], files["import/"+name] = encoded(d), importable(d)
	}
	return files
}

// importable is a dashboard for people who import it by hand: Grafana asks them for the
// data source, with which the dashboard then opens.
func importable(d dashboard.Dashboard) []byte {
	var all map[string]any
	if err := json.Unmarshal(encoded(d), &all); err != nil {
		panic(err) // it has just been written
	}
	all["__inputs"] = []map[string]string{{"name": "DS_PROMETHEUS", "label": "Prometheus", "description": "The Prometheus that scrapes the agents", "type": "datasource", "pluginId": "prometheus", "pluginName": "Prometheus"}}
	all["__requires"] = []map[string]string{{"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}, {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.4.0"}}
	first := all["templating"].(map[string]any)["list"].([]any)[0].(map[string]any)
	first["current"] = map[string]any{"selected": true, "text": "${DS_PROMETHEUS}", "value": "${DS_PROMETHEUS}"}
	return encoded(all)
}

func encoded(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // expressions compare
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		panic(err) // values of ours
	}
	return b.Bytes()
}

// begin is the common part of all dashboards.
func begin(uid, title, description string, variables ...cog.Builder[dashboard.VariableModel]) *dashboard.DashboardBuilder {
	all := append([]cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus").Current(option("default", "default")),
		choose("job", "Job", `label_values(tapwatch_build_info, job)`),
		choose("instance", "Agent", `label_values(tapwatch_build_info{job=~"$job"}, instance)`),
	}, variables...)
	return dashboard.NewDashboardBuilder(title).Uid(uid).Description(description).Tags([]string{"tapwatch"}).Readonly().Refresh("15s").
		Time("now-1h", "now").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).Variables(all).
		Link(dashboard.NewDashboardLinkBuilder("Tapwatch").Type(dashboard.DashboardLinkTypeDashboards).Tags([]string{"tapwatch"}).IncludeVars(true).KeepTime(true))
}

func end(b *dashboard.DashboardBuilder, all ...row) dashboard.Dashboard {
	d := built(b)
	d.Panels = layout(all...)
	return d
}

// choose is a variable of one or more values, or all.
func choose(name, label, query string) *dashboard.QueryVariableBuilder {
	return one(name, label, query).Multi(true).IncludeAll(true).AllValue(".+").Current(option("All", "$__all"))
}

// one is a variable of a single value.
func one(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Query(dashboard.StringOrMap{String: &query}).Datasource(source).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
}

func option(text, value string) dashboard.VariableOption {
	return dashboard.VariableOption{Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{String: &text}, Value: dashboard.StringOrArrayOfString{String: &value}}
}

// annotation marks the times at which a query has series.
func annotation(name, c, expr, text string) *dashboard.AnnotationQueryBuilder {
	return dashboard.NewAnnotationQueryBuilder().Name(name).Datasource(source).Enable(true).IconColor(c).Expr(promql(expr)).TitleFormat(name).TextFormat(text)
}
