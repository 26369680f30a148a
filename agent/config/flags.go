package config

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// knows refuses the keys of the file that are neither sections nor flags.
func (d *document) knows(flags *pflag.FlagSet) error {
	var keys []string
	flags.VisitAll(func(f *pflag.Flag) { keys = append(keys, Key(f.Name)) })
	var errs []error
	for key, value := range d.sections.Flags {
		switch {
		case slices.Contains(keys, key) && !strings.Contains(key, "."):
		case slices.Contains(groups, key):
			errs = append(errs, d.knowsGroup(key, &value, keys))
		default:
			text := fmt.Sprintf("unknown key %q", key)
			if dashed := Key(key); slices.Contains(keys, dashed) {
				text += fmt.Sprintf(": it is written %s", dashed)
			}
			errs = append(errs, Problem{File: d.name, Line: d.lineOf(key), Text: text})
		}
	}
	return errors.Join(errs...)
}

// knowsGroup refuses the keys of a group that are no flags.
func (d *document) knowsGroup(group string, n *yaml.Node, keys []string) error {
	if n = follow(n); n.Kind != yaml.MappingNode {
		return d.problem(group+": must be a mapping (key: value)", group)
	}
	var errs []error
	for i := 0; i < len(n.Content); i += 2 {
		if key := group + "." + n.Content[i].Value; !slices.Contains(keys, key) {
			errs = append(errs, d.problem(fmt.Sprintf("unknown key %q", key), group, n.Content[i].Value))
		}
	}
	return errors.Join(errs...)
}

// set gives a flag the value of a key of the file.
func (d *document) set(f *pflag.Flag, n *yaml.Node) error {
	refuse := func(n *yaml.Node, text string) error {
		return Problem{File: d.name, Line: n.Line, Text: Key(f.Name) + ": " + text}
	}
	n = follow(n)
	list, isList := f.Value.(pflag.SliceValue)
	if !isList {
		value, err := scalar(n)
		if err != nil {
			return refuse(n, err.Error())
		}
		if err := f.Value.Set(value); err != nil {
			return refuse(n, quoted(value)+": "+whyNot(f, err).Error())
		}
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return refuse(n, "must be a list")
	}
	emptied(f)
	var errs []error
	for _, item := range n.Content {
		value, err := itemOf(follow(item))
		if err != nil {
			errs = append(errs, refuse(item, err.Error()))
		} else if err := list.Append(value); err != nil {
			errs = append(errs, refuse(item, quoted(value)+": "+whyNot(f, err).Error()))
		}
	}
	return errors.Join(errs...)
}

func scalar(n *yaml.Node) (string, error) {
	switch {
	case n.Kind != yaml.ScalarNode:
		return "", errors.New("must be a single value")
	case n.Tag == "!!null":
		return "", errors.New(`has no value: take the line out, or write "" for the empty one`)
	}
	return n.Value, nil
}

// itemOf is an item of a list as a flag takes it: a mapping becomes
// KEY=VALUE,KEY=VALUE.
func itemOf(n *yaml.Node) (string, error) {
	if n.Kind != yaml.MappingNode {
		return scalar(n)
	}
	var parts []string
	for i := 0; i < len(n.Content); i += 2 {
		value, err := scalar(follow(n.Content[i+1]))
		if err != nil {
			return "", fmt.Errorf("%s: %w", n.Content[i].Value, err)
		}
		if strings.ContainsAny(value, ",;") {
			return "", fmt.Errorf("%s: %q: write ? for a comma or a semicolon", n.Content[i].Value, value)
		}
		parts = append(parts, n.Content[i].Value+"="+value)
	}
	return strings.Join(parts, ","), nil
}

// plain is the value of a flag as JSON and YAML write it.
func plain(v pflag.Value, mask bool) any {
	if list, ok := v.(pflag.SliceValue); ok {
		return append([]string{}, list.GetSlice()...)
	}
	text := v.String()
	switch kind := v.Type(); {
	case kind == "bool":
		return text == "true"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		n, err := strconv.Atoi(text)
		if err != nil {
			return text
		}
		return n
	}
	if mask {
		return masked(text)
	}
	return text
}

// masked hides the password of a URL and the values of its query: tokens stand in
// either.
func masked(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "(a URL that cannot be read)"
	}
	query := u.Query()
	for key := range query {
		query[key] = []string{"xxxxx"}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }
