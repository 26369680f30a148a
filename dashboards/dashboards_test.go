package dashboards

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func TestFilesAreWhatTheCodeMakes(t *testing.T) {
	made := Files()
	for name, want := range made {
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes: run make generate", name)
		}
	}
	for _, pattern := range []string{"*.json", "import/*.json"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if _, ok := made[name]; !ok {
				t.Errorf("%s is made by no code", name)
			}
		}
	}
}

// Grafana's own schema takes the files, with no field that it does not know.
func TestFilesFitTheSchema(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name := range All() {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // for none it returns an empty list
			t.Errorf("%s: %v", name, err)
		}
		if err := d.Validate(); err != nil && err.Error() != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is imported asks for the data source, and is the same dashboard else.
func TestImport(t *testing.T) {
	for name := range All() {
		text, err := os.ReadFile("import/" + name)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Inputs []struct{ Name, Type, PluginId string } `json:"__inputs"`
		}
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		if len(d.Inputs) != 1 || !strings.Contains(string(text), `"value": "${`+d.Inputs[0].Name+`}"`) {
			t.Errorf("import/%s does not use what it asks for: %+v", name, d.Inputs)
		}
	}
}

func TestLayoutLeavesNoOverlap(t *testing.T) {
	for name, d := range All() {
		taken := map[[2]uint32]string{}
		for _, either := range d.Panels {
			p := either.Panel
			if p == nil {
				p = &dashboard.Panel{Title: either.RowPanel.Title, GridPos: either.RowPanel.GridPos}
			}
			g := p.GridPos
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, ok := taken[[2]uint32{x, y}]; ok || x >= 24 {
						t.Fatalf("%s: panel %q at %d,%d lies over %q or off the grid", name, *p.Title, x, y, other)
					}
					taken[[2]uint32{x, y}] = *p.Title
				}
			}
		}
	}
}
