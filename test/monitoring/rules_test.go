package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// TestRulesWithAddresses: Prometheus takes the rules that the command prints with
// addresses, and makes of them the alerts that the shipped ones make, with pages at
// these addresses.
func TestRulesWithAddresses(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return at
	}
	printed := func(args ...string) []byte {
		out, err := exec.Command(absolute(t, "../../bin/tapwatch"), append([]string{"rules"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	promtool := func(args ...string) {
		if out, err := exec.Command(tool(t, "promtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	promtool("check", "rules", write("all.yml", printed("--external-url", "https://a.example/x/", "--dashboard-url", "https://g.example")))

	write("rules.yml", printed("--external-url", "https://a.example/x/"))
	stories, err := os.ReadFile(filepath.Join(dashboardsDir, "rules_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	stories = regexp.MustCompile(`docs/(checks/[a-z0-9-]+)\.md`).ReplaceAll(stories, []byte("https://a.example/x/$1"))
	stories = regexp.MustCompile(`docs/monitoring\.md#`).ReplaceAll(stories, []byte("https://a.example/x/docs/monitoring#"))
	promtool("test", "rules", write("rules_test.yml", stories))
}
