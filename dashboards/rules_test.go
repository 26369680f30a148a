package dashboards

import (
	"io/fs"
	"maps"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"

	"tapwatch/docs"
)

type group struct {
	Name  string
	Rules []struct {
		Record, Alert, Expr string
		For                 string
		KeepFiringFor       string `yaml:"keep_firing_for"`
		Labels, Annotations map[string]string
	}
}

func groupsOf(t *testing.T, text string) []group {
	t.Helper()
	var all struct{ Groups []group }
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		t.Fatal(err)
	}
	return all.Groups
}

func TestRulesAreTheFile(t *testing.T) {
	want, err := os.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	if Rules("", "") != string(want) {
		t.Error("without addresses the rules are not those of rules.yml")
	}
}

// expanded is an annotation as Prometheus makes it for labels, where no check has found
// anything.
func expanded(t *testing.T, annotation string, labels map[string]string) string {
	t.Helper()
	var out strings.Builder
	tmpl, err := template.New("").Option("missingkey=zero").Funcs(template.FuncMap{
		"query": func(string) []map[string]string { return nil },
		"first": func(found []map[string]string) map[string]string { return found[0] },
		"label": func(name string, of map[string]string) string { return of[name] },
	}).Parse("{{ $labels := . }}" + annotation)
	if err == nil {
		err = tmpl.Execute(&out, labels)
	}
	if err != nil {
		t.Fatalf("%s: %v", annotation, err)
	}
	return out.String()
}

// TestAddressesOfRules: each alert's page is one that the agent serves, and its
// dashboard one that there is, with a variable that it has. Nothing else changes.
func TestAddressesOfRules(t *testing.T) {
	const agent, grafana = "https://a.example/it's", "https://g.example"
	plain, made := groupsOf(t, Rules("", "")), groupsOf(t, Rules(agent, grafana))
	monitoring, err := docs.Files.ReadFile("monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	boards := map[string]string{}
	for _, d := range All() {
		boards[*d.Uid] = string(encoded(d))
	}
	for g := range made {
		for r, rule := range made[g].Rules {
			if rule.Alert == "" {
				continue
			}
			for _, hop := range []string{"proxy", "relay", "tap"} {
				at := expanded(t, rule.Annotations["runbook_url"], map[string]string{"hop": hop, "code": "vmm-exited"})
				if code, ok := strings.CutPrefix(at, agent+"/checks/"); ok {
					if _, err := fs.Stat(docs.Files, "checks/"+code+".md"); err != nil {
						t.Errorf("%s at the %s: %s: %v", rule.Alert, hop, at, err)
					}
				} else if section, ok := strings.CutPrefix(at, agent+"/docs/monitoring#"); !ok || !strings.Contains(strings.ToLower(string(monitoring)), "\n## "+section+"\n") {
					t.Errorf("%s: %s is no section", rule.Alert, at)
				}
			}
			at, err := url.Parse(expanded(t, rule.Annotations["dashboard_url"], map[string]string{"sandbox_id": "i1&x", "instance": "h:1"}))
			if err != nil {
				t.Fatal(err)
			}
			board := boards[strings.TrimPrefix(at.Path, "/d/")]
			if !strings.HasPrefix(at.String(), grafana) || board == "" || len(at.Query()) != 1 {
				t.Errorf("%s: %s is no dashboard", rule.Alert, at)
			}
			for name, values := range at.Query() {
				if !strings.Contains(board, `"name": "`+strings.TrimPrefix(name, "var-")+`"`) || values[0] != "i1&x" && values[0] != "h:1" {
					t.Errorf("%s: %s sets no variable", rule.Alert, at)
				}
			}
			if ofSandbox := strings.Contains(rule.Annotations["summary"], "sandbox_id"); ofSandbox != strings.HasSuffix(at.Path, sandboxUID) {
				t.Errorf("%s: %s is the wrong dashboard", rule.Alert, at)
			}
			delete(rule.Annotations, "dashboard_url")
			delete(rule.Annotations, "runbook_url")
			maps.DeleteFunc(plain[g].Rules[r].Annotations, func(name, _ string) bool { return name == "runbook_url" })
		}
	}
	if !reflect.DeepEqual(plain, made) {
		t.Error("more than the addresses has changed")
	}
}
