package config

import (
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Table is every setting, its value and where that is from, under a head.
func (c *Config) Table() [][]string {
	rows := [][]string{{"SETTING", "VALUE", "SOURCE"}}
	for _, s := range c.Settings {
		rows = append(rows, []string{s.Name, printable(s.text()), printable(s.from())})
	}
	return rows
}

// from is the source and which one it is.
func (s Setting) from() string {
	return strings.TrimSpace(string(s.Source) + " " + s.Origin)
}

// text is the value in a cell of a table; "-" stands for an empty one.
func (s Setting) text() string {
	switch v := s.Value.(type) {
	case string:
		if v == "" {
			return "-"
		}
		return v
	case []string:
		if len(v) == 0 {
			return "-"
		}
		return strings.Join(v, "; ")
	case []any:
		if len(v) == 0 {
			return "-"
		}
		return fmt.Sprintf("%d (-o yaml shows them)", len(v))
	}
	return fmt.Sprint(s.Value)
}

// WriteYAML writes a file that sets everything as it is, with the sources as
// comments. What is masked has to be filled in.
func (c *Config) WriteYAML(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	groups := map[string]*yaml.Node{}
	for _, s := range c.Settings {
		into, key := root, s.Name
		if group, rest, ok := strings.Cut(s.Name, "."); ok {
			if groups[group] == nil {
				groups[group] = &yaml.Node{Kind: yaml.MappingNode}
				root.Content = append(root.Content, scalarNode(group), groups[group])
			}
			into, key = groups[group], rest
		}
		value := new(yaml.Node)
		if err := value.Encode(s.Value); err != nil {
			return fmt.Errorf("write %s: %w", s.Name, err)
		}
		if s.Name == "rules" && c.rules != nil { // with the operator's order of keys
			value = c.rules
		}
		name := scalarNode(key)
		if len(value.Content) > 0 {
			name.HeadComment = s.from()
		} else {
			value.LineComment = s.from()
		}
		into.Content = append(into.Content, name, value)
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return fmt.Errorf("write the settings: %w", err)
	}
	return enc.Close()
}

func scalarNode(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }
