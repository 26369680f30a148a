package identity

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed presets.yaml
var presetsYAML []byte

// Presets returns the rules of known launchers, in the order in which they are
// tried. The slice is the caller's.
func Presets() []Rule {
	rules, err := Parse(presetsYAML)
	if err != nil {
		panic(err) // a test decodes them
	}
	return rules
}

// Parse reads rules from a YAML document that has them under the key "rules". A
// key that is not known is an error. Errors are one line.
func Parse(document []byte) ([]Rule, error) {
	var file struct {
		Programs map[string]string `yaml:"programs"` // a place for anchors
		Rules    []Rule            `yaml:"rules"`
	}
	if err := strict(document, &file); err != nil {
		return nil, fmt.Errorf("decode rules: %w", err)
	}
	return file.Rules, nil
}

// FromNodes reads rules that a larger document holds. The error names the line
// where the rule begins.
func FromNodes(nodes []yaml.Node) ([]Rule, error) {
	rules := make([]Rule, len(nodes))
	for i := range nodes {
		one, err := yaml.Marshal(&nodes[i])
		if err == nil {
			err = strict(one, &rules[i])
		}
		if err != nil {
			return nil, fmt.Errorf("decode rule at line %d: %w", nodes[i].Line, withoutLines(err))
		}
	}
	return rules, nil
}

// strict decodes one document. The library reports one problem a line.
func strict(document []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(document))
	d.KnownFields(true)
	err := d.Decode(into)
	var problems *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF): // nothing but comments
		return nil
	case errors.As(err, &problems):
		return errors.New(strings.ReplaceAll(strings.Join(problems.Errors, "; "), "\n", " "))
	case err != nil:
		return errors.New(strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " "))
	}
	return nil
}

// withoutLines drops the line of a problem where it is one of a copy.
func withoutLines(err error) error {
	text := err.Error()
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if _, problem, ok := strings.Cut(rest, ": "); ok {
			text = problem
		}
	}
	return errors.New(text)
}
