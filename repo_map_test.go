package tapwatch

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// mapLine is a line of ARCHITECTURE.md's map: a package or several, then what they
// are for. A package below another stands further in.
var mapLine = regexp.MustCompile(`^ {4}(│? {5,9}|[├└]── |)([a-z0-9/]+(?:, [a-z0-9/]+)*) {2,}\S`)

// packagesOfMap reads which packages the map shows.
func packagesOfMap(t *testing.T) map[string]bool {
	t.Helper()
	shown := map[string]bool{}
	above := ""
	for line := range strings.Lines(read(t, "ARCHITECTURE.md")) {
		m := mapLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		inside := strings.HasSuffix(m[1], "  ")
		if !inside {
			above = m[2]
		}
		for _, name := range strings.Split(m[2], ", ") {
			if inside {
				name = path.Join(above, name)
			}
			shown[name] = true
		}
	}
	return shown
}

// TestEveryPackageIsOnTheMap holds ARCHITECTURE.md to the packages that there are.
func TestEveryPackageIsOnTheMap(t *testing.T) {
	shown, there := packagesOfMap(t), map[string]bool{}
	for _, f := range goFiles(t) {
		if f.nested || f.test {
			continue
		}
		dir := path.Dir(f.path)
		there[dir] = true
		if (strings.HasPrefix(dir, "agent") || strings.HasPrefix(dir, "internal/")) && !shown[dir] {
			shown[dir] = true // said once
			t.Errorf("the map of ARCHITECTURE.md lacks %s", dir)
		}
	}
	for name := range shown {
		if !there[name] && name != "internal" {
			t.Errorf("the map of ARCHITECTURE.md shows %s, which is no package", name)
		}
	}
}

// TestWhereToLookIsThere holds the table of CONTRIBUTING.md to the files that there
// are.
func TestWhereToLookIsThere(t *testing.T) {
	_, table, ok := strings.Cut(read(t, "CONTRIBUTING.md"), "## Where to look\n")
	if !ok {
		t.Fatal("CONTRIBUTING.md does not say where to look")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	names := regexp.MustCompile("`([a-z0-9_./]+)`").FindAllStringSubmatch(table, -1)
	if len(names) == 0 {
		t.Error("CONTRIBUTING.md names nothing to look at")
	}
	for _, m := range names {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("CONTRIBUTING.md says to look at %s: %v", m[1], err)
		}
	}
}
