package dashboards

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreWhatTheCodeMakes(t *testing.T) {
	made := All()
	for name, d := range made {
		want, err := d.JSON()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes: run make generate", name)
		}
	}
	files, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if _, ok := made[name]; !ok {
			t.Errorf("%s is made by no code", name)
		}
	}
}

func TestLayoutLeavesNoOverlap(t *testing.T) {
	for name, d := range All() {
		taken := map[[2]int]string{}
		for _, p := range d.Panels {
			g := p.GridPos
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
						t.Fatalf("%s: panel %q at %d,%d lies over %q or off the grid", name, p.Title, x, y, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}
