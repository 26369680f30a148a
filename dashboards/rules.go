package dashboards

import (
	_ "embed"
	"regexp"
	"strings"
)

//go:embed rules.yml
var rules string

// runbook is a line of the rules that says where the page on an alert is, in this
// repository: its indent, the path below docs/, the section.
var runbook = regexp.MustCompile(`^( +)runbook_url: '?docs/(.+)\.md(#[a-z]+)?'?$`)

// Rules are the alert rules for Prometheus. Where the URL of an agent is given,
// runbook_url is an address that it serves; where that of Grafana is, each alert has a
// dashboard_url. Both are without a slash at their end.
func Rules(agentURL, grafanaURL string) string {
	quoted := strings.NewReplacer("'", "''") // as YAML has it
	agentURL, grafanaURL = quoted.Replace(agentURL), quoted.Replace(grafanaURL)
	var out strings.Builder
	var group, ofSandbox = "", false
	for line := range strings.Lines(rules) {
		if name, ok := strings.CutPrefix(line, "  - name: "); ok {
			group = strings.TrimSpace(name)
		}
		if strings.HasPrefix(line, "      - alert: ") {
			ofSandbox = false
		}
		ofSandbox = ofSandbox || strings.Contains(line, "$labels.sandbox_id")
		m := runbook.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			out.WriteString(line)
			continue
		}
		switch {
		case agentURL == "":
			out.WriteString(line)
		case strings.HasPrefix(m[2], "checks/"):
			out.WriteString(m[1] + "runbook_url: '" + agentURL + "/" + m[2] + m[3] + "'\n")
		default:
			out.WriteString(m[1] + "runbook_url: '" + agentURL + "/docs/" + m[2] + m[3] + "'\n")
		}
		if grafanaURL != "" {
			out.WriteString(m[1] + "dashboard_url: '" + grafanaURL + "/d/" + dashboardOf(group, ofSandbox) + "'\n")
		}
	}
	return out.String()
}

// dashboardOf is the dashboard that shows what an alert is about, with its variables as
// the alert's labels say.
func dashboardOf(group string, ofSandbox bool) string {
	const chosen = `{{ with $labels.instance }}?var-instance={{ . | urlquery }}{{ end }}`
	switch {
	case ofSandbox:
		return sandboxUID + `?var-sandbox={{ $labels.sandbox_id | urlquery }}`
	case group == "tapwatch-agents":
		return agentUID + chosen
	}
	return fleetUID + chosen
}
