package monitoring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"

	"tapwatch/internal/proctest"
)

// expected is what each sandbox of the demo must bring about, and nothing else.
var expected = map[string]string{
	"healthy":    "",
	"no-carrier": "TapwatchNoCarrier",
	"no-driver":  "TapwatchEnvdUnreachable",
	"no-envd":    "TapwatchEnvdUnreachable",
}

// ofTheHost are the alerts that three broken sandboxes of four rightly bring
// about for their host.
var ofTheHost = []string{"TapwatchSandboxesBroken", "TapwatchRequestsFailing", "TapwatchRequestsFailingSlowly"}

// TestDemo watches the demo as an operator would: Prometheus with the shipped
// rules and configuration, Alertmanager, and a webhook at its end.
func TestDemo(t *testing.T) {
	hook, url := startWebhook(t)
	demo, agent := startDemo(t)
	prom := prometheus{startPrometheus(t, agent, startAlertmanager(t, url))}

	if !t.Run("each fault alerts", func(t *testing.T) { checkAlerts(t, demo, prom, hook) }) {
		return // what follows looks at the same sandboxes
	}
	t.Run("the healthy and the idle are silent", func(t *testing.T) { checkSilence(t, prom, hook) })
	t.Run("metrics are well formed", func(t *testing.T) { checkMetrics(t, agent) })
	t.Run("panels show something", func(t *testing.T) { checkPanels(t, prom) })
	t.Run("metrics and labels exist", func(t *testing.T) { checkNames(t, prom) })
}

func checkMetrics(t *testing.T, agent string) {
	resp, err := http.Get("http://" + agent + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: %s, %v", resp.Status, err)
	}
	checkTable(t, string(body))
	checkBudget(t, string(body))
	cmd := exec.Command(tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = bytes.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// checkTable: every metric of a real scrape is in the table of docs/metrics.md.
func checkTable(t *testing.T, scrape string) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (tapwatch_\w+) (\w+)$`).FindAllStringSubmatch(scrape, -1) {
		if m[1] != "tapwatch_build_info" && !strings.Contains(string(doc), "| `"+m[1]+"` | "+m[2]+" |") {
			t.Errorf("%s, a %s, is not in docs/metrics.md", m[1], m[2])
		}
	}
}

// checkBudget counts the series of each sandbox, what is wrong with it apart.
func checkBudget(t *testing.T, scrape string) {
	series := map[string][]string{}
	wrong := regexp.MustCompile(`^tapwatch_(finding|network_transmit_drop|network_hidden)|^tapwatch_requests_total.*outcome="(server_error|not_http|refused|reset|closed|lost)"`)
	for _, line := range strings.Split(scrape, "\n") {
		id := regexp.MustCompile(`^(tapwatch_\w+)\{.*sandbox_id="([^"]+)"`).FindStringSubmatch(line)
		if id != nil && !wrong.MatchString(line) {
			series[id[2]] = append(series[id[2]], line)
		}
	}
	if len(series) < len(expected) {
		t.Errorf("series of %d sandboxes only", len(series))
	}
	for id, of := range series {
		if t.Logf("%s: %d series", id, len(of)); len(of) > 25 {
			t.Errorf("%s has %d series, 25 are allowed:\n%s", id, len(of), strings.Join(of, "\n"))
		}
	}
}

func checkAlerts(t *testing.T, demo *proctest.Process, prom prometheus, hook *webhook) {
	eventually(t, demo, func() error {
		firing := hook.firing()
		for name, want := range expected {
			if want != "" && !slices.ContainsFunc(firing, func(a alert) bool {
				return a.Labels["name"] == name && a.Labels["alertname"] == want
			}) {
				return fmt.Errorf("no %s for %s among %v", want, name, firing)
			}
		}
		return nil
	})
	for _, a := range hook.firing() {
		if a.Labels["alertname"] == "TapwatchNoCarrier" && a.Annotations["runbook_url"] != "docs/checks/vmm-not-attached.md" {
			t.Errorf("the alert does not lead to its cause: %v", a)
		}
	}
	// The host may have slots that are not the demo's; it has idle ones at least.
	idle, err := prom.now(`tapwatch_network_carrier{sandbox_id=""} == 0`)
	if err != nil || len(idle) == 0 {
		t.Errorf("no idle slot without carrier: %v", err)
	}
}

// checkSilence comes after the alerts of the faults: by then everything of the
// same age that is wrongly alerted about has been so.
func checkSilence(t *testing.T, prom prometheus, hook *webhook) {
	infos, err := prom.now(`tapwatch_sandbox_info{name!=""}`)
	if err != nil {
		t.Fatal(err)
	}
	nameOf := map[string]string{}
	for _, l := range infos {
		nameOf[l["sandbox_id"]] = l["name"]
	}
	if len(nameOf) != len(expected) {
		t.Errorf("the demo's sandboxes are %v", nameOf)
	}
	for _, a := range hook.firing() {
		id, alertname := a.Labels["sandbox_id"], a.Labels["alertname"]
		name, ours := nameOf[id]
		if id == "" && slices.Contains(ofTheHost, alertname) {
			continue
		}
		if id == "" || ours && expected[name] != alertname {
			t.Errorf("%s for sandbox %q (%s): %v", alertname, id, name, a)
		}
	}
}

func checkPanels(t *testing.T, prom prometheus) {
	for _, q := range panelQueries(t) {
		series, err := prom.result(q)
		if err == nil && len(series) == 0 {
			err = errors.New("no data")
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", q.where, err, q.expr)
		}
	}
}

// checkNames holds every expression to the metrics and labels that there are. The
// demo silences nothing, hides no frames and may lose no VMM, and the agent need not ask
// its sandboxes, so what that would show is written here; the tests of agent/metrics hold
// it to the labels.
func checkNames(t *testing.T, prom prometheus) {
	known := map[string]map[string]bool{
		"tapwatch_sandbox_silenced":           {"__name__": true, "job": true, "instance": true, "netns": true, "sandbox_id": true},
		"tapwatch_network_hidden_bytes_total": {"__name__": true, "job": true, "instance": true, "netns": true, "device": true, "sandbox_id": true, "direction": true},
		"tapwatch_probe_attach_errors_total":  {"__name__": true, "job": true, "instance": true, "reason": true},
		"tapwatch_health_probes_total":        {"__name__": true, "job": true, "instance": true, "way": true, "result": true},
		"tapwatch_vmm_exits_total":            {"__name__": true, "job": true, "instance": true, "signal": true, "status": true, "wanted": true},
	}
	labelsOf := func(metric string) map[string]bool {
		if _, ok := known[metric]; !ok {
			found, err := prom.labelsOf(metric)
			if err != nil {
				t.Fatal(err)
			}
			known[metric] = found
		}
		return known[metric]
	}
	for _, q := range slices.Concat(panelQueries(t), annotationQueries(t), ruleQueries(t)) {
		e := parse(t, q)
		for _, s := range selectors(e) {
			if len(labelsOf(s.Name)) == 0 {
				t.Errorf("%s: there is no metric %s", q.where, s.Name)
			}
			for _, m := range s.LabelMatchers {
				if !labelsOf(s.Name)[m.Name] {
					t.Errorf("%s: %s has no label %s", q.where, s.Name, m.Name)
				}
			}
		}
		checkGrouping(t, q, e, labelsOf)
	}
}

// checkGrouping looks at the labels of by, on and group_left: each must be on
// some metric of the side that it speaks of.
func checkGrouping(t *testing.T, q query, e parser.Expr, labelsOf func(string) map[string]bool) {
	need := func(side parser.Node, names ...string) {
		for _, name := range names {
			if !slices.ContainsFunc(selectors(side), func(s *parser.VectorSelector) bool { return labelsOf(s.Name)[name] }) {
				t.Errorf("%s: nothing in %s has the label %s", q.where, side, name)
			}
		}
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.AggregateExpr:
			need(n.Expr, n.Grouping...)
		case *parser.BinaryExpr:
			if m := n.VectorMatching; m != nil && m.On {
				need(n.LHS, m.MatchingLabels...)
				need(n.RHS, m.MatchingLabels...)
				need(n.RHS, m.Include...) // group_left
			}
		}
		return nil
	})
}
