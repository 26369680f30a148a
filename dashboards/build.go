package dashboards

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// scope is put into every selector: what the variables at the top have chosen.
const scope = `job=~"$job", instance=~"$instance"`

// promql puts the scope where an expression says SCOPE, and where it says ONE the sandbox
// too. INFO is the join that gives what has a sandbox its name.
func promql(expr string) string {
	return strings.NewReplacer("SCOPE", scope, "ONE", scope+`, sandbox_id=~"$sandbox"`,
		"INFO", "* on (job, instance, netns, sandbox_id) group_left (name, template) tapwatch_sandbox_info{"+scope+"}").Replace(expr)
}

// source is the data source that the first variable chooses.
var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

type query = *prometheus.DataqueryBuilder

// series is a query for a range of time.
func series(expr, legend string) query {
	return prometheus.NewDataqueryBuilder().Datasource(source).Expr(promql(expr)).LegendFormat(legend).Range()
}

// now is a query for the newest value of each series, by labels.
func now(expr string) query {
	return prometheus.NewDataqueryBuilder().Datasource(source).Expr(promql(expr)).Instant().Format(prometheus.PromQueryFormatTable)
}

// value is a query for one newest number.
func value(expr string) query {
	return prometheus.NewDataqueryBuilder().Datasource(source).Expr(promql(expr)).Instant()
}

// named gives the queries of a panel their letters.
func named(queries ...query) []cog.Builder[variants.Dataquery] {
	all := make([]cog.Builder[variants.Dataquery], len(queries))
	for i, q := range queries {
		all[i] = q.RefId(string(rune('A' + i)))
	}
	return all
}

// built is what a builder makes. What we write fits the schema, or the generator and the
// tests fail.
func built[T any](b cog.Builder[T]) T {
	made, err := b.Build()
	if err != nil {
		panic(err)
	}
	return made
}

// statPanel is one number. Nothing known is shown as such, never as 0.
func statPanel(title, description, unit string, thresholds []dashboard.Threshold, q query) dashboard.Panel {
	p := built(stat.NewPanelBuilder().Title(title).Description(description).Datasource(source).Unit(unit).Targets(named(q)).NoValue("unknown").
		ColorMode(common.BigValueColorModeBackground).GraphMode(common.BigValueGraphModeNone).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})))
	p.FieldConfig.Defaults.Thresholds = &dashboard.ThresholdsConfig{Mode: dashboard.ThresholdsModeAbsolute, Steps: thresholds}
	p.FieldConfig.Defaults.Color = &dashboard.FieldColor{Mode: dashboard.FieldColorModeIdThresholds}
	return p
}

// graph is lines over time.
func graph(title, description, unit string, queries ...query) dashboard.Panel {
	return built(lines(title, description, unit, queries))
}

// stacked is lines that add up.
func stacked(title, description, unit string, queries ...query) dashboard.Panel {
	return built(lines(title, description, unit, queries).FillOpacity(60).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal).Group("A")))
}

func lines(title, description, unit string, queries []query) *timeseries.PanelBuilder {
	return timeseries.NewPanelBuilder().Title(title).Description(description).Datasource(source).Unit(unit).Min(0).Targets(named(queries...)).
		LineWidth(1).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom).ShowLegend(true)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
}

// heat is a histogram over time, of a query for its classic buckets.
func heat(title, description, expr string) dashboard.Panel {
	return built(heatmap.NewPanelBuilder().Title(title).Description(description).Datasource(source).Unit("short").
		Targets(named(series(expr, "{{le}}").Format(prometheus.PromQueryFormatHeatmap))).
		Calculate(false).CellGap(1).Color(heatmap.NewHeatmapColorOptionsBuilder().Mode(heatmap.HeatmapColorModeScheme).Scheme("Oranges").Steps(64).Exponent(0.5)))
}

// timeline is a state over time. A gap is unknown.
func timeline(title, description string, words []dashboard.ValueMapping, queries ...query) dashboard.Panel {
	p := built(statetimeline.NewPanelBuilder().Title(title).Description(description).Datasource(source).Unit("short").Targets(named(queries...)).
		MergeValues(true).ShowValue(common.VisibilityModeAuto).AlignValue(common.TimelineValueAlignmentLeft).RowHeight(0.8).FillOpacity(80).LineWidth(0))
	p.FieldConfig.Defaults.Mappings = words
	return p
}

// rows is a table of queries whose rows are joined by the labels that they share. Columns
// are labels and "Value #A" and so on, each followed by its heading, in their order.
func rows(title, description string, columns []string, queries ...query) dashboard.Panel {
	renamed, order, kept := map[string]string{}, map[string]int{}, map[string]bool{}
	for i := 0; i < len(columns); i += 2 {
		renamed[columns[i]], order[columns[i]], kept[columns[i]] = columns[i+1], i/2, true
	}
	left := map[string]bool{}
	for _, name := range []string{"Time", "job", "Value #A"} {
		if !kept[name] {
			left[name] = true
		}
	}
	return built(table.NewPanelBuilder().Title(title).Description(description).Datasource(source).Unit("short").Targets(named(queries...)).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})). // which the schema wants, shown or not
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}}).
		WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{"excludeByName": left, "renameByName": renamed, "indexByName": order}}))
}

// column sets properties of the column, or series, of a name.
func column(p dashboard.Panel, name string, properties ...dashboard.DynamicConfigValue) dashboard.Panel {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, dashboard.DashboardFieldConfigSourceOverrides{
		Matcher: dashboard.MatcherConfig{Id: "byName", Options: name}, Properties: properties})
	return p
}

func property(id string, value any) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: id, Value: value}
}

// toSandbox makes each cell of a column lead to the dashboard of its sandbox, with the
// time and the other variables kept.
func toSandbox(p dashboard.Panel, name string) dashboard.Panel {
	return column(p, name, property("links", []map[string]any{{
		"title": "The path of this sandbox",
		"url":   "/d/" + sandboxUID + "?var-datasource=${datasource}&var-job=${__data.fields.job}&var-instance=${__data.fields.Agent}&var-sandbox=${__data.fields.Sandbox}&${__url_time_range}",
	}}))
}

// colour gives the series of a name a colour of its own.
func colour(p dashboard.Panel, name, c string) dashboard.Panel {
	return column(p, name, property("color", map[string]string{"mode": "fixed", "fixedColor": c}))
}

// from is green below the limit and another colour from it on.
func from(limit float64, c string) []dashboard.Threshold {
	return []dashboard.Threshold{{Color: "green"}, {Color: c, Value: &limit}}
}

// neutral has one colour: the number is neither good nor bad.
var neutral = []dashboard.Threshold{{Color: "blue"}}

// words shows values as words: value, word and colour of each.
func words(all ...[3]string) []dashboard.ValueMapping {
	options := map[string]dashboard.ValueMappingResult{}
	for i, w := range all {
		options[w[0]] = dashboard.ValueMappingResult{Text: &w[1], Color: &w[2], Index: cog.ToPtr(int32(i))}
	}
	return []dashboard.ValueMapping{{ValueMap: &dashboard.ValueMap{Type: dashboard.MappingTypeValueToText, Options: options}}}
}

var (
	carrierWords = words([3]string{"0", "NO-CARRIER", "red"}, [3]string{"1", "carrier", "green"})
	hopWords     = words([3]string{"0", "broken", "red"}, [3]string{"1", "ok", "green"})
	pathWords    = words([3]string{"ok", "ok", "green"}, [3]string{"broken", "broken", "red"}, [3]string{"unknown", "unknown", "yellow"}, [3]string{"booting", "booting", "blue"}, [3]string{"paused", "paused", "purple"})
	inColour     = property("custom.cellOptions", map[string]string{"type": "color-text"})
)

type row struct {
	title  string
	height uint32
	panels []dashboard.Panel
}

// layout places rows of panels below each other, all panels of a row equally wide, and
// numbers them.
func layout(all ...row) (out []dashboard.PanelOrRowPanel) {
	y, id := uint32(0), uint32(0)
	for _, r := range all {
		if r.title != "" {
			id++
			out = append(out, dashboard.PanelOrRowPanel{RowPanel: &dashboard.RowPanel{Type: "row", Title: &r.title, Id: id, GridPos: &dashboard.GridPos{Y: y, W: 24, H: 1}, Panels: []dashboard.Panel{}}})
			y++
		}
		w := 24 / uint32(len(r.panels))
		for i, p := range r.panels {
			id++
			p.Id, p.GridPos = cog.ToPtr(id), &dashboard.GridPos{X: uint32(i) * w, Y: y, W: w, H: r.height}
			out = append(out, dashboard.PanelOrRowPanel{Panel: &p})
		}
		y += r.height
	}
	return out
}
