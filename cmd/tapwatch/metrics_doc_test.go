package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/diagnose"
	agentmetrics "tapwatch/agent/metrics"
	"tapwatch/agent/path"
	"tapwatch/internal/sandbox/metrics"
)

var updateMetrics = flag.Bool("update-metrics", false, "write docs/metrics.md anew")

const metricsDoc = "../../docs/metrics.md"

// The table of all metrics is made from their definitions: go test ./cmd/tapwatch -run
// MetricsDoc -update-metrics writes it. That no other is exported, test/monitoring holds
// against a real scrape.
func TestMetricsDoc(t *testing.T) {
	was, err := os.ReadFile(metricsDoc)
	if err != nil {
		t.Fatal(err)
	}
	intro, _, found := strings.Cut(string(was), "## The host\n")
	if !found {
		t.Fatal("docs/metrics.md has no heading The host")
	}
	var of []agentmetrics.Family
	of = append(of, agentmetrics.Families()...)
	for _, f := range metrics.Families {
		of = append(of, agentmetrics.Family(f))
	}
	slices.SortFunc(of, func(a, b agentmetrics.Family) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	b.WriteString(intro)
	for _, part := range []struct {
		title, text string
		has         func(agentmetrics.Family) bool
	}{
		{"The host", "So many series whatever the number of sandboxes.", func(f agentmetrics.Family) bool { return !single(f) && !old(f) }},
		{"Each sandbox", "By default.", func(f agentmetrics.Family) bool { return single(f) && !f.Detail && !old(f) }},
		{"Each sandbox, with --metrics-detail", "Of single sandboxes, also in `tapwatch proxy` and `tapwatch relay` by themselves.", func(f agentmetrics.Family) bool { return single(f) && f.Detail && !old(f) }},
		{"Old names", "They go with the next release.", old},
	} {
		fmt.Fprintf(&b, "## %s\n\n%s\n\n| metric | type | unit | labels | series | is | absent |\n|---|---|---|---|---|---|---|\n", part.title, part.text)
		for _, f := range of {
			if part.has(f) {
				b.WriteString(metricRow(f))
			}
		}
		b.WriteString("\n")
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if *updateMetrics {
		if err := os.WriteFile(metricsDoc, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if text != string(was) {
		t.Error("docs/metrics.md is not what the definitions say: go test ./cmd/tapwatch -run MetricsDoc -update-metrics")
	}
}

func old(f agentmetrics.Family) bool { return strings.HasPrefix(f.Help, "Old name of") }

// single says whether a metric has series for each sandbox, or for each tap.
func single(f agentmetrics.Family) bool { return slices.Contains(f.Labels, "sandbox_id") }

// metricRow is a line of the table. What a help text says of when the metric is absent has
// a column of its own.
func metricRow(f agentmetrics.Family) string {
	is, absent := "", ""
	for _, sentence := range strings.SplitAfter(f.Help, ". ") {
		if rest, ok := strings.CutPrefix(sentence, "Absent "); ok {
			absent += strings.TrimSuffix(strings.TrimSpace(rest), ".")
		} else {
			is += sentence
		}
	}
	unit := ""
	for _, u := range []string{"seconds", "bytes"} {
		if strings.Contains(f.Name, "_"+u) {
			unit = u
		}
	}
	cell := func(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), "|", `\|`) }
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s | %s |\n", f.Name, f.Type, unit, strings.Join(f.Labels, ", "), cardinality(f), cell(is), cell(absent))
}

// most is how many values a label has at most; of others how many is the host's to say.
var most = map[string]int{
	"hop": len(path.Hops), "state": 5, "outcome": len(path.Outcomes), "side": 2, "direction": 2, "origin": 4, "operation": 2, "severity": 3,
	"phase": 8, "code": len(diagnose.Checks), "way": 3, "result": 4, "mode": 3, "wanted": 2, "collector": 6, "layer": 2,
}

// cardinality says of what a metric has a series each: of a sandbox, or of the host.
func cardinality(f agentmetrics.Family) string {
	each := []string{}
	for _, label := range f.Labels {
		switch n := most[label]; {
		case slices.Contains([]string{"netns", "device", "sandbox_id"}, label), label == "layer" && slices.Contains(f.Labels, "hop"):
		case strings.HasSuffix(f.Name, "_info"):
		case n == 0:
			each = append(each, label)
		default:
			each = append(each, fmt.Sprintf("%s (%d)", label, n))
		}
	}
	switch f.Type {
	case "histogram":
		each = append(each, "bucket")
	case "summary":
		each = append(each, "sum, count")
	}
	if len(each) == 0 {
		return "1"
	}
	return strings.Join(each, " x ")
}
