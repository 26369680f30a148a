package dashboards

import "strings"

// scope is put into every selector: what the variables at the top have chosen.
const scope = `job=~"$job", instance=~"$instance"`

// promql puts the scope where an expression says SCOPE.
func promql(expr string) string { return strings.ReplaceAll(expr, "SCOPE", scope) }

var source = &Datasource{Type: "prometheus", UID: "${datasource}"}

// series is a query for a range of time.
func series(expr, legend string) Target {
	return Target{Datasource: source, Expr: promql(expr), LegendFormat: legend, Range: true}
}

// now is a query for the newest value of each series, by labels.
func now(expr string) Target {
	return Target{Datasource: source, Expr: promql(expr), Instant: true, Format: "table"}
}

// value is a query for one newest number.
func value(expr string) Target {
	return Target{Datasource: source, Expr: promql(expr), Instant: true}
}

// panel is the common part of all panels; what a type needs is set on it after.
func panel(kind, title, description, unit string, targets ...Target) Panel {
	for i := range targets {
		targets[i].RefID = string(rune('A' + i))
	}
	return Panel{
		Type: kind, Title: title, Description: description, Datasource: source, Targets: targets,
		FieldConfig: &FieldConfig{Defaults: FieldDefaults{Unit: unit}, Overrides: []Override{}},
	}
}

// stat is one number. Nothing known is shown as such, never as 0.
func stat(title, description string, thresholds *Thresholds, t Target) Panel {
	p := panel("stat", title, description, "short", t)
	p.FieldConfig.Defaults.NoValue = "unknown"
	p.FieldConfig.Defaults.Thresholds = thresholds
	p.FieldConfig.Defaults.Color = &Color{Mode: "thresholds"}
	p.Options = map[string]any{
		"colorMode": "background", "graphMode": "none",
		"reduceOptions": map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

// graph is lines over time.
func graph(title, description, unit string, targets ...Target) Panel {
	p := panel("timeseries", title, description, unit, targets...)
	p.FieldConfig.Defaults.Min = ptr(0.0)
	p.FieldConfig.Defaults.Color = &Color{Mode: "palette-classic"}
	p.FieldConfig.Defaults.Custom = map[string]any{"lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
	p.Options = map[string]any{
		"legend":  map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true},
		"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
	}
	return p
}

// heatmap is a histogram over time, of a query for its buckets.
func heatmap(title, description, expr string) Panel {
	t := series(expr, "{{le}}")
	t.Format = "heatmap"
	p := panel("heatmap", title, description, "short", t)
	p.Options = map[string]any{
		"calculate": false, "cellGap": 1,
		"color":   map[string]any{"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
		"yAxis":   map[string]any{"unit": "s", "axisPlacement": "left"},
		"tooltip": map[string]any{"mode": "single", "yHistogram": false},
	}
	return p
}

// stacked makes the lines of a graph add up.
func stacked(p Panel) Panel {
	p.FieldConfig.Defaults.Custom["stacking"] = map[string]any{"mode": "normal", "group": "A"}
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 60
	return p
}

// colour gives the series or column of a name a colour of its own.
func colour(p Panel, name, c string) {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{
		Matcher:    Matcher{ID: "byName", Options: name},
		Properties: []Property{{ID: "color", Value: Color{Mode: "fixed", FixedColor: c}}},
	})
}

// goodBelow is green below the limit and red from it on.
func goodBelow(limit float64) *Thresholds {
	return &Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}, {Color: "red", Value: &limit}}}
}

// plain has one colour: the number is neither good nor bad.
func plain(c string) *Thresholds {
	return &Thresholds{Mode: "absolute", Steps: []Step{{Color: c}}}
}

// layout places rows of panels below each other, all panels of a row equally
// wide, and numbers them.
func layout(rows ...row) []Panel {
	var out []Panel
	y := 0
	place := func(p Panel, at GridPos) {
		p.ID, p.GridPos = len(out)+1, at
		out = append(out, p)
	}
	for _, r := range rows {
		if r.title != "" {
			place(Panel{Type: "row", Title: r.title}, GridPos{Y: y, W: 24, H: 1})
			y++
		}
		w := 24 / len(r.panels)
		for i, p := range r.panels {
			place(p, GridPos{X: i * w, Y: y, W: w, H: r.height})
		}
		y += r.height
	}
	return out
}

type row struct {
	title  string
	height int
	panels []Panel
}

func ptr[T any](v T) *T { return &v }
