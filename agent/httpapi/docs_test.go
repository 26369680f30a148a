package httpapi

import (
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"tapwatch/docs"
)

// TestDocuments opens every document as a browser would, and follows its links and their
// fragments: from any of them the page of every check is found.
func TestDocuments(t *testing.T) {
	f := serve(t)
	href, id := regexp.MustCompile(` href="([^"]*)"`), regexp.MustCompile(` id="([^"]*)"`)
	bodies, fragments := map[string]string{}, map[string][]string{}
	next := []string{"/checks/", "/docs/monitoring"}
	for len(next) > 0 {
		at := next[0]
		next = next[1:]
		if bodies[at] != "" {
			continue
		}
		code, body, header := f.get(t, at, "")
		bodies[at] = body
		if code != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: status %d, header %v", at, code, header)
			continue
		}
		if strings.Contains(body, " style=") {
			t.Errorf("%s has styles that its policy forbids", at)
		}
		for _, m := range href.FindAllStringSubmatch(body, -1) {
			to, err := url.Parse(m[1])
			if err != nil {
				t.Errorf("%s links to %q: %v", at, m[1], err)
				continue
			}
			if to.IsAbs() {
				continue
			}
			to = (&url.URL{Path: at}).ResolveReference(to)
			if to.Fragment != "" {
				fragments[to.Path] = append(fragments[to.Path], to.Fragment)
			}
			if d := path.Dir(to.Path); d == "/checks" || d == "/docs" {
				next = append(next, to.Path)
			} else if to.Path != "/" && to.Path != "/ui/style.css" {
				t.Errorf("%s links to %s, which is no page", at, to)
			}
		}
	}
	for at, wanted := range fragments {
		var has []string
		for _, m := range id.FindAllStringSubmatch(bodies[at], -1) {
			has = append(has, m[1])
		}
		for _, want := range wanted {
			if !strings.Contains(" "+strings.Join(has, " ")+" ", " "+want+" ") {
				t.Errorf("a link leads to %s#%s, and there are %v", at, want, has)
			}
		}
	}
	pages, err := fs.Glob(docs.Files, "checks/*.md")
	if err != nil || len(pages) < 50 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		name := strings.TrimSuffix(page, ".md")
		body := bodies["/"+name]
		if name == "checks/README" {
			body = bodies["/checks/"]
		}
		if !strings.Contains(body, "<table>") || !strings.Contains(body, "<h1") {
			t.Errorf("%s was not reached, or has no heading or no table", page)
		}
	}
}

// TestDocumentOfNothing: who follows a link of another version is told so.
func TestDocumentOfNothing(t *testing.T) {
	f := serve(t)
	for _, at := range []string{"/checks/no-such-check", "/docs/none", "/checks/..%2f..%2fetc%2fpasswd", "/docs/checks%2fdocs.go"} {
		code, body, header := f.get(t, at, "")
		if code != 404 || !strings.Contains(body, "There is no such page") || !strings.Contains(body, `href="../checks/"`) || header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: status %d, %s", at, code, body)
		}
	}
}
