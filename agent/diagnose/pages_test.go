package diagnose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tapwatch/agent/path"
)

// examples are the facts behind the picture on each check's page.
var examples = map[string]path.Facts{
	"proxy-not-listening": changed(proxyGone),
	"relay-not-listening": changed(relayGone),
	"tap-missing":         changed(tapGone),
	"tap-down":            changed(tapIsDown, noTrafficYet),
	"vmm-exited":          changed(vmmDead),
	"vmm-not-attached":    changed(neverAttached, noTrafficYet),
	"no-carrier":          changed(vmmUnseen),
	"guest-silent":        changed(guestMute),
	"guest-no-arp":        changed(wrongAddress),
	"envd-refused":        changed(portClosed),
	"envd-no-answer":      changed(synDropped),
}

func noTrafficYet(f *path.Facts) { *f.Traffic = path.Traffic{} }

// TestPagesShowThePicture holds each page to what an operator really sees.
func TestPagesShowThePicture(t *testing.T) {
	for _, c := range Checks {
		t.Run(c.Code, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("..", "..", "docs", "checks", c.Code+".md"))
			if err != nil {
				t.Fatal(err)
			}
			page := string(b)
			if want := head(c); !strings.HasPrefix(page, want) {
				t.Errorf("the page does not begin with\n%s", want)
			}
			f := examples[c.Code]
			d := Run(f)
			if len(d.Findings) != 1 || d.Findings[0].Code != c.Code {
				t.Fatalf("the example is none: %s", summary(d))
			}
			var picture strings.Builder
			path.Draw(&picture, path.Slot{Facts: f, Diagnosis: d}, false)
			if !strings.Contains(page, "```text\n"+picture.String()+"```\n") {
				t.Errorf("the page does not show\n%s", picture.String())
			}
			if n := strings.Count(page, "\n"); n > 60 {
				t.Errorf("%d lines: too long for 3 a.m.", n)
			}
		})
	}
}

// head is how the page of a check begins.
func head(c Check) string {
	boot := ""
	if c.InBoot {
		boot = ", also while the sandbox boots"
	}
	return "# " + c.Title + "\n\n`" + c.Code + "`, hop " + string(c.Hop) + ", " + string(c.Severity) + boot + ".\n"
}
