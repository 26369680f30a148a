package page

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

// axe is the script that judges accessibility, as package-lock.json pins it.
func axe(t *testing.T) string {
	t.Helper()
	script := filepath.Join("node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(script); err != nil {
		npm := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts")
		if out, err := npm.CombinedOutput(); err != nil {
			nettest.Unfit(t, fmt.Sprintf("npm ci: %v\n%s", err, out))
		}
	}
	b, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestAxe: axe-core finds nothing in either view, in light, dark and on a phone.
func TestAxe(t *testing.T) {
	script := axe(t)
	h := newHost(t, 60)
	h.set(3, slot(3, path.Broken))
	h.set(4, slot(4, path.Undecided))
	h.set(5, slot(5, path.Booting))
	h.set(6, slot(6, path.Paused))
	b := browse(t)
	for _, view := range []string{"/", "/?sandbox=i0000003", "/?sandbox=nobody", "/?q=nothing"} {
		b.do(chromedp.Navigate(h.url + view))
		b.until(`document.querySelector(".row, svg.path, .one, .grid .wait")`)
		b.do(chromedp.Evaluate(script+"; 1", nil))
		for _, as := range []struct {
			width  int64
			scheme string
		}{{1280, "light"}, {1280, "dark"}, {390, "light"}, {390, "dark"}} {
			b.size(as.width, 800, as.scheme)
			b.do(chromedp.Evaluate(`document.querySelectorAll("details").forEach(d => d.open = true); 1`, nil))
			found := evaluate[string](b, `axe.run().then(r => JSON.stringify(r.violations.map(v => [v.id, v.help, v.nodes.slice(0, 3).map(n => n.html + " " + n.failureSummary)])))`)
			var violations []any
			if err := json.Unmarshal([]byte(found), &violations); err != nil {
				t.Fatal(err)
			}
			for _, v := range violations {
				t.Errorf("%s at %d px, %s: %v", view, as.width, as.scheme, v)
			}
			b.fits()
		}
		b.size(1280, 800, "light")
	}
	b.excuse("404 (Not Found)") // there is no sandbox nobody
}
