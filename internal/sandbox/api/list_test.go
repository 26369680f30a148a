package api

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox"
)

// five sandboxes, a the oldest; d and e were created at the same time.
func five() []sandbox.Sandbox {
	at := func(s int64) time.Time { return time.Unix(1_700_000_000+s, 123456789) }
	return []sandbox.Sandbox{
		{ID: "c", CreatedAt: at(3), State: registry.Failed, TemplateID: "t2", Alias: "two"},
		{ID: "a", CreatedAt: at(1), State: registry.Running, TemplateID: "t1", Metadata: map[string]string{"k": "v", "a b&": "c="}},
		{ID: "e", CreatedAt: at(4), State: registry.Running, TemplateID: "t1", Metadata: map[string]string{"k": "w"}},
		{ID: "b", CreatedAt: at(2), State: registry.Booting, TemplateID: "t1", Metadata: map[string]string{"k": "v"}},
		{ID: "d", CreatedAt: at(4), State: registry.Running, TemplateID: "t1"},
	}
}

func ids(list []sandbox.Sandbox) string {
	var s []string
	for _, sb := range list {
		s = append(s, sb.ID)
	}
	return strings.Join(s, "")
}

func TestFilters(t *testing.T) {
	for name, tc := range map[string]struct{ query, want string }{
		"all, newest first":  {"", "edcba"},
		"ascending":          {"order=asc", "abcde"},
		"descending":         {"order=desc", "edcba"},
		"state":              {"state=running", "eda"},
		"states by comma":    {"state=failed,booting", "cb"},
		"states repeated":    {"state=failed&state=booting", "cb"},
		"none is paused":     {"state=paused", ""},
		"metadata":           {"metadata=k%3Dv", "ba"},
		"metadata two":       {"metadata=" + url.QueryEscape("k=v&a%2520b%2526=c%253D"), "a"}, // as the SDK escapes it
		"metadata of nobody": {"metadata=x%3Dv", ""},
		"template":           {"template=t2", "c"},
		"template by alias":  {"template=two", "c"},
		"started after":      {"startedAfter=2023-11-14T22:13:22.5Z", "edc"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := url.ParseQuery(tc.query)
			if err != nil {
				t.Fatal(err)
			}
			q, err := parseQuery(v, true)
			if err != nil {
				t.Fatal(err)
			}
			if page, next := q.pick(five()); ids(page) != tc.want || next != "" {
				t.Errorf("got %s, next %q, want %s", ids(page), next, tc.want)
			}
		})
	}
}

// Pages must hold each sandbox once, also while others come and go.
func TestPages(t *testing.T) {
	for order, want := range map[string]string{"desc": "ed|cb|a", "asc": "ab|cd|e"} {
		var got []string
		token := ""
		for len(got) < 9 {
			q, err := parseQuery(url.Values{"limit": {"2"}, "order": {order}, "nextToken": {token}}, true)
			if err != nil {
				t.Fatal(err)
			}
			page, next := q.pick(five())
			got = append(got, ids(page))
			if token = next; token == "" {
				break
			}
		}
		if s := strings.Join(got, "|"); s != want {
			t.Errorf("%s: %s, want %s", order, s, want)
		}
	}
	q, _ := parseQuery(url.Values{"limit": {"2"}}, true)
	_, token := q.pick(five())
	q, err := parseQuery(url.Values{"limit": {"2"}, "nextToken": {token}}, true)
	if err != nil {
		t.Fatal(err)
	}
	gone := slices.DeleteFunc(five(), func(sb sandbox.Sandbox) bool { return sb.ID == "d" }) // where the page ended
	if page, _ := q.pick(gone); ids(page) != "cb" {
		t.Errorf("after a removal: %s, want cb", ids(page))
	}
}

// The older endpoint knows no pages.
func TestUnpaged(t *testing.T) {
	q, err := parseQuery(url.Values{"limit": {"1"}}, false)
	if err != nil {
		t.Fatal(err)
	}
	if page, next := q.pick(five()); len(page) != 5 || next != "" {
		t.Errorf("%d sandboxes, next %q", len(page), next)
	}
}
