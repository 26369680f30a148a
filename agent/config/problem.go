package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong in a file. Its text is one line.
type Problem struct {
	File string
	Line int // 0: not known
	Text string
}

// Error is FILE:LINE: TEXT. What a terminal would obey is taken out.
func (p Problem) Error() string {
	where := p.File
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	return printable(where + ": " + p.Text)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// Lines returns the single errors of an error that Load returned.
func Lines(err error) []error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, Lines(e)...)
	}
	return out
}

// byLine compares two errors by their lines; those without one come first.
func byLine(a, b error) int {
	var p, q Problem
	errors.As(a, &p)
	errors.As(b, &q)
	return p.Line - q.Line
}

// What the YAML library says, and the words of the types that it names.
var (
	yamlLine    = regexp.MustCompile(`^line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (.*) not found in type .*$`)
	yamlTwice   = regexp.MustCompile(`^(?:mapping key|field) ("?.*?"?) already (?:defined at line (\d+)|set in type .*)$`)
	yamlKind    = regexp.MustCompile("^cannot unmarshal (!!\\w+)(?: `.*`)? into (.*)$")
)

// problems turns what the YAML library says into our words. The library names
// types of Go, which the operator does not know.
func problems(file string, err error) error {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return problem(file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var all []error
	for _, text := range types.Errors {
		all = append(all, problem(file, text))
	}
	return errors.Join(all...)
}

func problem(file, text string) Problem {
	p := Problem{File: file, Text: text}
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1]) // the pattern lets digits through only
		p.Text = m[2]
	}
	if m := yamlUnknown.FindStringSubmatch(p.Text); m != nil {
		p.Text = fmt.Sprintf("unknown key %q", m[1])
	} else if m := yamlTwice.FindStringSubmatch(p.Text); m != nil {
		p.Text = fmt.Sprintf("the key %q is there twice", strings.Trim(m[1], `"`))
		if m[2] != "" {
			p.Text += ", first in line " + m[2]
		}
	} else if m := yamlKind.FindStringSubmatch(p.Text); m != nil {
		p.Text = fmt.Sprintf("must be %s, not %s", wanted(m[2]), given(m[1]))
	}
	return p
}

// wanted is a type of Go in the operator's words.
func wanted(goType string) string {
	switch goType = strings.TrimPrefix(goType, "*"); {
	case goType == "time.Time":
		return "a time like 2026-01-31T18:00:00Z"
	case goType == "time.Duration":
		return "a duration such as 2h30m"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "string":
		return "text"
	case goType == "bool":
		return "true or false"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"):
		return "a whole number"
	}
	return "a mapping (key: value)"
}

// given is a tag of YAML in the operator's words.
func given(tag string) string {
	switch tag {
	case "!!seq":
		return "a list"
	case "!!map":
		return "a mapping (key: value)"
	case "!!null":
		return "nothing"
	}
	return "a single value"
}
