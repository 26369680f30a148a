package identity

import (
	"fmt"
	"slices"
	"strings"
)

// template is a string with groups in it: text, group, text, group, ..., text.
type template struct {
	texts  []string // one more than groups; none for the empty template
	groups []int    // places in the rule's groups
}

// newTemplate reads ${name} for each of the names.
func newTemplate(s string, names []string) (template, error) {
	var t template
	if s == "" {
		return t, nil
	}
	for {
		text, rest, found := strings.Cut(s, "${")
		t.texts = append(t.texts, text)
		if !found {
			return t, nil
		}
		name, rest, closed := strings.Cut(rest, "}")
		if !closed {
			return t, fmt.Errorf("${%s is not closed", name)
		}
		i := slices.Index(names, name)
		if i < 0 {
			return t, fmt.Errorf("${%s}: match has no group of that name", name)
		}
		t.groups = append(t.groups, i)
		s = rest
	}
}

func (t *template) fill(values []string) string {
	switch {
	case len(t.texts) == 0:
		return ""
	case len(t.groups) == 0:
		return t.texts[0]
	case len(t.groups) == 1 && t.texts[0] == "" && t.texts[1] == "":
		return values[t.groups[0]]
	}
	var b strings.Builder
	for i, text := range t.texts {
		b.WriteString(text)
		if i < len(t.groups) {
			b.WriteString(values[t.groups[i]])
		}
	}
	return b.String()
}
