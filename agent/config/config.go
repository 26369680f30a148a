// Package config reads the settings of the agent: the operator gives them on the
// command line, in the environment and in one YAML file, and this package says
// which value is in force and where it comes from.
package config

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"tapwatch/agent/identity"
	"tapwatch/internal/e2b"
)

// DefaultFile is read where the operator names no file. It need not exist.
const DefaultFile = "/etc/tapwatch/agent.yaml"

// Source says where the value of a setting comes from.
type Source string

// The sources, the weakest first: each wins over those above it.
const (
	Default     Source = "default"
	File        Source = "file"
	Environment Source = "environment"
	Flag        Source = "flag"
)

// Setting is one setting and the value of it that is in force.
type Setting struct {
	// Name is the key in the file, e.g. series_grace or e2b.host_network_cidr.
	Name string `json:"setting"`
	// Value is what encoding/json and YAML write: a bool, a number, a string or a
	// list. Secrets in it are masked.
	Value  any    `json:"value"`
	Source Source `json:"source"`
	// Origin is --FLAG, a variable's name or FILE:LINE; empty for a default.
	Origin string `json:"origin,omitempty"`
	// Live says that the running agent takes a new value at SIGHUP; others need a
	// restart.
	Live bool `json:"live"`

	exact any // the value with its secrets, to compare
}

// Config is what is in force. The values of flags are in the variables that the
// caller bound to the set of flags; the sections that are no flags are here.
type Config struct {
	// File is the name of the file that was read; empty where there is none.
	File     string
	Settings []Setting // flags by name, then sections
	// Modified is when the file was last changed; zero without a file. Durations in
	// it count from then (identity.Options.Since).
	Modified time.Time
	Rules    []identity.Rule // they compile
	Silence  []Silence
	// E2B is the address plan of an E2B orchestrator on this host, complete.
	E2B e2b.Plan

	rules *yaml.Node // as they are written; nil: there are none
}

// groups are the keys of the file below which flags are: those whose names begin so.
var groups = []string{"checks"}

// Key is the name of a flag in the file: of checks-off it is checks.off.
func Key(flag string) string {
	group, rest, _ := strings.Cut(flag, "-")
	if slices.Contains(groups, group) {
		return group + "." + underscored(rest)
	}
	return underscored(flag)
}

func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Variable is the name of a flag in the environment.
func Variable(flag string) string { return "TAPWATCH_" + strings.ToUpper(underscored(flag)) }

// annotationLive marks the flags that can change while the agent runs.
const annotationLive = "tapwatch_live"

// MarkLive says of flags of fs that the agent takes a new value while it runs. It
// panics where fs has no such flag.
func MarkLive(fs *pflag.FlagSet, names ...string) {
	for _, name := range names {
		if err := fs.SetAnnotation(name, annotationLive, nil); err != nil {
			panic(err)
		}
	}
}

// IsLive says whether MarkLive marked a flag.
func IsLive(f *pflag.Flag) bool {
	_, live := f.Annotations[annotationLive]
	return live
}

// Changed returns the names of the settings whose values differ between two
// configurations, by whether the running agent can take the new value.
func Changed(from, to *Config) (live, restart []string) {
	for _, s := range to.Settings {
		i := slices.IndexFunc(from.Settings, func(o Setting) bool { return o.Name == s.Name })
		switch {
		case i >= 0 && equal(from.Settings[i].exact, s.exact):
		case s.Live:
			live = append(live, s.Name)
		default:
			restart = append(restart, s.Name)
		}
	}
	return live, restart
}
