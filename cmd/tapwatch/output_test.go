package main

import (
	"errors"
	"strings"
	"testing"

	"tapwatch/agent/draw"
	"tapwatch/internal/image"
)

func TestComplainInOneLine(t *testing.T) {
	for want, err := range map[string]error{
		"tapwatch: no such thing\n":                     errors.New("no such thing"),
		"tapwatch: first; second\n":                     errors.Join(errors.New("first"), errors.New("second")),
		"tapwatch: no x; did you mean this? y; z\n":     errors.New("no x\n\ndid you mean this?\n\ty\n\tz"),
		"tapwatch: open catalog: refused by 10.0.0.1\n": errors.New("open catalog:\n\trefused by 10.0.0.1\n\trefused by 10.0.0.1"),
	} {
		var out strings.Builder
		complain(&out, err)
		if out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	}
}

// keptWithin says which line of a text is wider than a screen, if one is.
func keptWithin(t *testing.T, text string, width int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := len(strings.TrimRight(line, "\n")); n > width {
			t.Errorf("%d columns, not %d: %s", n, width, line)
		}
	}
}

func TestDrawChecksKeepsWithinAScreen(t *testing.T) {
	var out strings.Builder
	tpl := &image.Template{Name: "/templates/b1", Rootfs: "/templates/b1/rootfs.ext4"}
	drawChecks(&out, tpl, []image.Result{{
		Check: "init", State: image.Broken,
		Detail: `the first line of /sbin/init is no shebang that a kernel takes: it begins with #\!, as a shell with history expansion writes it`,
	}}, draw.Screen{Width: 80})
	keptWithin(t, out.String(), 80)
	if first, _, _ := strings.Cut(out.String(), "\n"); first != tpl.Rootfs {
		t.Errorf("the title is %q", first)
	}
}

func TestDrawDiffKeepsWithinAScreen(t *testing.T) {
	d := image.Difference{Rows: []image.Row{
		{What: "kernel", A: "6.1.0-56-cloud-amd64_ed75013b", B: "6.1.0-56-cloud-amd64_ed75013b"},
		{What: "init", A: "/sbin/init -rwxr-xr-x, 3051 bytes, sha256 570ddc6d56dd", B: "/sbin/init -rwxr-xr-x, 3052 bytes, sha256 dfa4e1357a12", Differ: true},
	}}
	narrow, wide := drawn(t, d, 80), drawn(t, d, 0)
	keptWithin(t, narrow, 80)
	for _, row := range d.Rows {
		if !strings.Contains(narrow, row.A) || !strings.Contains(narrow, row.B) {
			t.Errorf("%s is lost in:\n%s", row.What, narrow)
		}
	}
	if !strings.Contains(narrow, "\n- init ") || !strings.Contains(wide, d.Rows[1].B+"  differ\n") {
		t.Errorf("what differs is not marked in:\n%s\n%s", narrow, wide)
	}
}

func drawn(t *testing.T, d image.Difference, width int) string {
	t.Helper()
	var out strings.Builder
	if err := drawDiff(&out, "base", "desktop", d, draw.Screen{Width: width}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
