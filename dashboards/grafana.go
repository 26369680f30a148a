package dashboards

import (
	"bytes"
	"encoding/json"
)

// The part of Grafana's dashboard model, schema version 39 (Grafana 10.4 and
// later), that our dashboards use. Fields without omitempty are those whose
// absence would mean something else than their zero value.

// Dashboard is one dashboard as Grafana imports it.
type Dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	Editable      bool       `json:"editable"`
	SchemaVersion int        `json:"schemaVersion"`
	Refresh       string     `json:"refresh"`
	Time          TimeRange  `json:"time"`
	GraphTooltip  int        `json:"graphTooltip"` // 1: one crosshair for all panels
	Templating    Templating `json:"templating"`
	Panels        []Panel    `json:"panels"`
}

// JSON is the dashboard as it is kept in the repository and imported.
func (d Dashboard) JSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // expressions compare
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return b.Bytes(), err
}

// TimeRange is what the dashboard opens with.
type TimeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Templating holds the variables at the top of the dashboard.
type Templating struct {
	List []Variable `json:"list"`
}

// Variable is of type "datasource", or of type "query" with one of its values
// or all of them chosen.
type Variable struct {
	Name       string      `json:"name"`
	Label      string      `json:"label"`
	Type       string      `json:"type"`
	Query      string      `json:"query"`
	Datasource *Datasource `json:"datasource,omitempty"`
	Refresh    int         `json:"refresh,omitempty"` // 2: whenever the time range changes
	Sort       int         `json:"sort,omitempty"`    // 1: by name
	Multi      bool        `json:"multi"`
	IncludeAll bool        `json:"includeAll"`
	AllValue   string      `json:"allValue,omitempty"` // a regular expression
	Current    *Choice     `json:"current,omitempty"`
}

// Choice is a chosen value of a variable.
type Choice struct {
	Text  string `json:"text"`
	Value string `json:"value"`
}

// Datasource is a variable's name, so that a dashboard fits any Prometheus.
type Datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is a picture, a table or (type "row") a heading.
type Panel struct {
	ID              int              `json:"id"`
	Type            string           `json:"type"`
	Title           string           `json:"title"`
	Description     string           `json:"description,omitempty"`
	Datasource      *Datasource      `json:"datasource,omitempty"`
	GridPos         GridPos          `json:"gridPos"`
	Targets         []Target         `json:"targets,omitempty"`
	FieldConfig     *FieldConfig     `json:"fieldConfig,omitempty"`
	Options         map[string]any   `json:"options,omitempty"` // differ by the panel's type
	Transformations []Transformation `json:"transformations,omitempty"`
}

// GridPos is a place on a grid that is 24 wide.
type GridPos struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

// Target is one query of a panel.
type Target struct {
	RefID        string      `json:"refId"`
	Datasource   *Datasource `json:"datasource"`
	Expr         string      `json:"expr"`
	LegendFormat string      `json:"legendFormat,omitempty"`
	Instant      bool        `json:"instant"`
	Range        bool        `json:"range"`
	Format       string      `json:"format,omitempty"` // "table", "heatmap"; empty: time series
}

// FieldConfig says how values look.
type FieldConfig struct {
	Defaults  FieldDefaults `json:"defaults"`
	Overrides []Override    `json:"overrides"`
}

// FieldDefaults are for all fields of a panel.
type FieldDefaults struct {
	Unit       string         `json:"unit"`
	NoValue    string         `json:"noValue,omitempty"`
	Min        *float64       `json:"min,omitempty"`
	Color      *Color         `json:"color,omitempty"`
	Mappings   []Mapping      `json:"mappings,omitempty"`
	Thresholds *Thresholds    `json:"thresholds,omitempty"`
	Custom     map[string]any `json:"custom,omitempty"` // differ by the panel's type
}

// Color is where a field's colour comes from: "fixed", "thresholds", "palette-classic".
type Color struct {
	Mode       string `json:"mode"`
	FixedColor string `json:"fixedColor,omitempty"`
}

// Mapping shows values as words.
type Mapping struct {
	Type    string             `json:"type"` // "value"
	Options map[string]Display `json:"options"`
}

// Display is the word for a value.
type Display struct {
	Text  string `json:"text"`
	Color string `json:"color"`
	Index int    `json:"index"`
}

// Thresholds colour a value by its size.
type Thresholds struct {
	Mode  string `json:"mode"` // "absolute"
	Steps []Step `json:"steps"`
}

// Step is a colour from a value on; the first has no value.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// Override is for the fields that its matcher picks.
type Override struct {
	Matcher    Matcher    `json:"matcher"`
	Properties []Property `json:"properties"`
}

// Matcher picks fields, e.g. "byName".
type Matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

// Property is one setting of a field.
type Property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

// Transformation works on the answers to all queries of a panel.
type Transformation struct {
	ID      string         `json:"id"`
	Options map[string]any `json:"options"`
}
