package tapwatch

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tapwatch/agent/diagnose"
	agentmetrics "tapwatch/agent/metrics"
	"tapwatch/internal/image"
	"tapwatch/internal/sandbox/metrics"
)

func TestOnePackageCommentAFolder(t *testing.T) {
	comments := map[string][]string{}
	for _, f := range goFiles(t) {
		dir := path.Dir(f.path)
		if f.generated {
			continue
		}
		if _, ok := comments[dir]; !ok {
			comments[dir] = nil
		}
		if f.ast.Doc != nil {
			comments[dir] = append(comments[dir], f.path)
		}
	}
	for dir, in := range comments {
		if len(in) != 1 {
			t.Errorf("%s has %d package comments: %v", dir, len(in), in)
		}
	}
}

// TestFilesHoldOneIdea: at 600 lines a file is split.
func TestFilesHoldOneIdea(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.lines > 600 && !f.generated {
			t.Errorf("%s has %d lines", f.path, f.lines)
		}
	}
}

// onlyIn says where something may be used, and why nowhere else.
var onlyIn = []struct {
	what    string
	matches *regexp.Regexp
	in      []string // folders
	tests   bool     // free in tests
	why     string
}{
	{
		"os/exec", regexp.MustCompile(`"os/exec"`),
		[]string{"internal/sandbox/vmm", "internal/sandbox/template", "internal/sandbox/envd/guest", "internal/sandbox/envd/proto/generate", "internal/proctest", "internal/flowtest", "internal/nettest", "internal/drill"}, true,
		"processes are VMMs, a template's build tools, a guest's commands, what a drill breaks a sandbox with, or what tests put into a path: the agent reads the kernel, not what tools print",
	},
	{
		"setns", regexp.MustCompile(`\bunix\.(Setns|Unshare|SYS_SETNS)\b|"github.com/vishvananda/netns"`),
		[]string{"internal/netns"}, false,
		"a thread that cannot go back must die, and that is seen to in one place",
	},
	{
		"a skipped test", regexp.MustCompile(`\b(t|b|tb)\.Skip(f|Now)?\(`),
		[]string{"internal/nettest"}, false,
		"what a machine cannot run is said by nettest.Unfit, which fails in CI",
	},
}

func TestUsedOnlyWhereItBelongs(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.path == "repo_rules_test.go" {
			continue
		}
		for _, rule := range onlyIn {
			allowed := rule.tests && (f.test || f.nested) || slices.ContainsFunc(rule.in, func(dir string) bool {
				return strings.HasPrefix(f.path, dir+"/")
			})
			if !allowed && rule.matches.MatchString(f.source) {
				t.Errorf("%s has %s: %s", f.path, rule.what, rule.why)
			}
		}
	}
}

// TestStateAsksNobody: whoever holds the lock of the state must not wait, so what could
// ask the kernel is not even imported there.
func TestStateAsksNobody(t *testing.T) {
	harmless := []string{"cmp", "fmt", "maps", "net/netip", "reflect", "runtime", "slices", "strconv", "strings", "sync", "sync/atomic", "time"}
	reads := regexp.MustCompile(`\bregistry\.(Dir|NewReader|ProcessOf|DefaultDir)\b|\bnetns\.(Do|Open|Current|CookieOf\w*|Path)\b`)
	for _, f := range goFiles(t) {
		if path.Dir(f.path) != "agent/slots" || f.test {
			continue
		}
		for _, name := range f.imports {
			if !strings.HasPrefix(name, "tapwatch/") && !slices.Contains(harmless, name) {
				t.Errorf("%s imports %s", f.path, name)
			}
		}
		if m := reads.FindString(f.source); m != "" {
			t.Errorf("%s uses %s", f.path, m)
		}
	}
}

// TestEveryCProgramIsIgnoredByGo: else cgo would compile it.
func TestEveryCProgramIsIgnoredByGo(t *testing.T) {
	for _, name := range files(t) {
		if path.Ext(name) == ".c" && !strings.HasPrefix(read(t, name), "//go:build ignore\n") {
			t.Errorf("%s must begin with //go:build ignore", name)
		}
	}
}

// TestChecks: a check is one file, registered once, with one page, to which its
// finding links; and there are no others of any.
func TestChecks(t *testing.T) {
	want := map[string]bool{}
	for _, c := range diagnose.Checks {
		if want[c.Code] {
			t.Errorf("two checks are called %s", c.Code)
		}
		want[c.Code] = true
		source := read(t, filepath.Join("agent/diagnose", strings.ReplaceAll(c.Code, "-", "_")+".go"))
		if n := strings.Count(source, "= Check{"); n != 1 {
			t.Errorf("the file of %s has %d checks", c.Code, n)
		}
		read(t, filepath.Join("docs/checks", c.Code+".md"))
	}
	for _, code := range image.Codes { // of templates; a check of paths may have the same
		want[code] = true
	}
	for _, name := range files(t) {
		code, isPage := strings.CutSuffix(strings.TrimPrefix(name, "docs/checks/"), ".md")
		if isPage && code != "README" && path.Dir(name) == "docs/checks" && !want[code] {
			t.Errorf("%s is the page of no check", name)
		}
		if path.Dir(name) == "agent/diagnose" && path.Ext(name) == ".go" && strings.Contains(read(t, name), "= Check{") &&
			!want[strings.ReplaceAll(strings.TrimSuffix(path.Base(name), ".go"), "_", "-")] {
			t.Errorf("%s holds a check that is not in diagnose.Checks", name)
		}
	}
}

// TestMetricsInDashboardsAndRulesExist is the quick half; test/monitoring holds
// them, with their labels, to what a live agent exports.
func TestMetricsInDashboardsAndRulesExist(t *testing.T) {
	exported := []string{"tapwatch_build_info"} // client_golang's own
	for _, f := range agentmetrics.Families() {
		exported = append(exported, f.Name)
	}
	for _, f := range metrics.Families {
		exported = append(exported, f.Name)
	}
	begins := func(metric string) bool { // of names that are written tapwatch_layer_...
		return strings.HasSuffix(metric, "_") && slices.ContainsFunc(exported, func(name string) bool { return strings.HasPrefix(name, metric) })
	}
	for _, m := range regexp.MustCompile(`record: [a-z_]+:(tapwatch_[a-z_]+):`).FindAllStringSubmatch(read(t, "dashboards/rules.yml"), -1) {
		exported = append(exported, m[1]) // what the rules themselves record
	}
	suffix := regexp.MustCompile(`_(bucket|sum|count)$`)
	for _, name := range files(t) {
		if path.Dir(name) != "dashboards" && path.Dir(name) != "docs" {
			continue
		}
		for _, metric := range regexp.MustCompile(`\btapwatch_[a-z_]+`).FindAllString(read(t, name), -1) {
			if !begins(metric) && !slices.Contains(exported, metric) && !slices.Contains(exported, suffix.ReplaceAllString(metric, "")) {
				t.Errorf("%s: neither agent/metrics nor internal/sandbox/metrics has %s", name, metric)
			}
		}
	}
}

// TestNothingNamesOneMachine: paths of a workplace and the hosts of package
// registries are the business of whoever builds, and set there.
func TestNothingNamesOneMachine(t *testing.T) {
	named := regexp.MustCompile(`(^|[\s"'(=:])/wor[k]/|proxy\.golan[g]\.org|sum\.golan[g]\.org|registry\.npmj[s]\.org|deb\.debia[n]\.org`)
	for _, name := range files(t) {
		if m := named.FindString(read(t, name)); m != "" {
			t.Errorf("%s names %s", name, strings.TrimSpace(m))
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
