package tapwatch

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	agentpath "tapwatch/agent/path"
)

// stated is a number of the code that a document tells its readers.
var stated = []struct {
	constant *regexp.Regexp // its declaration in agent/; the group is the number
	document string
	says     string // with %s for the number
}{
	{regexp.MustCompile(`\bPatience = (\d+) \* time\.Second`), "docs/checks/envd-hung.md", "does not answer `GET /health` within %s s."},
	{regexp.MustCompile(`\bPatience = (\d+) \* time\.Second`), "docs/checks/envd-hung.md", "needs more than %s s."},
	{regexp.MustCompile(`\bhiddenTurn = (\d+)`), "docs/monitoring.md", "asks the driver every %s seconds"},
	{regexp.MustCompile(`\bhiddenBytes = (\d+)`), "docs/monitoring.md", "from fewer than %s bytes"},
}

func TestDocumentsHaveTheNumbersOfTheCode(t *testing.T) {
	sources := goFiles(t)
	for _, s := range stated {
		var found []string
		for _, f := range sources {
			if strings.HasPrefix(f.path, "agent/") && !f.test {
				for _, m := range s.constant.FindAllStringSubmatch(f.source, -1) {
					found = append(found, m[1])
				}
			}
		}
		if len(found) != 1 {
			t.Errorf("%s: %d declarations in agent/, want one", s.constant, len(found))
			continue
		}
		if want := fmt.Sprintf(s.says, found[0]); !strings.Contains(read(t, s.document), want) {
			t.Errorf("%s does not say %q", s.document, want)
		}
	}
}

// otherFields are of another JSON than a slot's, and look alike.
var otherFields = map[string]string{
	"template.build_id": "of the metadata.json that E2B keeps beside a template",
}

// TestFieldsInDocumentsExist: `part.some_field` in a document is a field of a
// slot's JSON, where some_field is the name of any.
func TestFieldsInDocumentsExist(t *testing.T) {
	fields, names := map[string]bool{}, map[string]bool{}
	jsonFields(reflect.TypeFor[agentpath.Slot](), "", fields)
	for f := range fields {
		if last := f[strings.LastIndex(f, ".")+1:]; strings.Contains(last, "_") {
			names[last] = true
		}
	}
	quoted := regexp.MustCompile("`([a-z_]+(?:\\.[a-z_]+)+)`")
	for _, name := range files(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(read(t, name), -1) {
			if names[m[1][strings.LastIndex(m[1], ".")+1:]] && !fields[m[1]] && otherFields[m[1]] == "" {
				t.Errorf("%s: the JSON of a slot has no %s", name, m[1])
			}
		}
	}
}

// jsonFields adds the dotted names of all fields that a type's JSON has.
func jsonFields(of reflect.Type, at string, to map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		jsonFields(of.Elem(), at, to)
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(of) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if len(f.Index) > 1 || name == "-" || !f.IsExported() {
				continue
			}
			if f.Anonymous && name == "" {
				jsonFields(f.Type, at, to)
				continue
			}
			inner := strings.TrimPrefix(at+"."+name, ".")
			if name != "" && strings.Count(inner, ".") < 6 { // deep enough; types may contain themselves
				to[inner] = true
				jsonFields(f.Type, inner, to)
			}
		}
	default: // a value
	}
}

// TestEveryDocumentIsFound: from README.md on, links lead to every document, and
// none leads nowhere.
func TestEveryDocumentIsFound(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	reached, next := map[string]bool{"README.md": true}, []string{"README.md"}
	for len(next) > 0 {
		from := next[0]
		next = next[1:]
		for _, m := range link.FindAllStringSubmatch(read(t, from), -1) {
			to := path.Join(path.Dir(from), m[1])
			info, err := os.Stat(to)
			if err != nil {
				t.Errorf("%s links to %s, which is not there", from, m[1])
				continue
			}
			leads := []string{to}
			if info.IsDir() { // its listing
				if leads, err = filepath.Glob(path.Join(to, "*.md")); err != nil {
					t.Fatal(err)
				}
			}
			for _, to := range leads {
				if path.Ext(to) == ".md" && !reached[to] {
					reached[to] = true
					next = append(next, to)
				}
			}
		}
	}
	for _, name := range files(t) {
		if path.Ext(name) == ".md" && !reached[name] {
			t.Errorf("no link leads from README.md to %s", name)
		}
	}
}
