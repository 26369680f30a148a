package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"tapwatch/agent/config"
)

// samples are values of the settings that no default is good enough for.
var samples = map[string]string{
	"proxy": "127.0.0.1:5", "pyroscope": "http://127.0.0.1:6", "template-cache": "/cache", "ignore": "device=a", "vmm-users": "0",
	"checks-off": "no-egress", "checks-warn": "conntrack-full", "checks-info": "tap-drops",
}

// Whoever adds a flag adds its line to the documentation; the rest follows.
func TestEverySettingIsEverywhere(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	settings := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	new(agentFlags).define(settings)
	settings.VisitAll(func(f *pflag.Flag) {
		value := samples[f.Name]
		if value == "" {
			value = f.DefValue
		}
		checkSource(t, f, value, config.Loader{File: fileOf(t, f, value)}, config.File)
		checkSource(t, f, value, config.Loader{LookupEnv: func(name string) (string, bool) {
			if name == config.Variable(f.Name) {
				return value, true
			}
			return "", false
		}}, config.Environment)
		checkSource(t, f, value, config.Loader{Given: map[string][]string{f.Name: {value}}}, config.Flag)
		line := fmt.Sprintf("\n| `--%s` | `%s` | `%s` | %s | %s |\n", f.Name, config.Key(f.Name), config.Variable(f.Name), documented(f.DefValue), atSIGHUP(f))
		if !strings.Contains(string(doc), line) {
			t.Errorf("docs/configuration.md lacks%s", line)
		}
	})
	cmd, _, err := rootCommand().Find([]string{"agent"})
	if err != nil {
		t.Fatal(err)
	}
	cmd.InitDefaultHelpFlag()
	flags := slices.Concat(names(cmd.LocalFlags()), names(cmd.InheritedFlags()))
	for _, name := range flags {
		if settings.Lookup(name) == nil && name != config.FileFlag && name != "help" {
			t.Errorf("--%s is no setting", name)
		}
	}
	for _, name := range names(settings) {
		if !slices.Contains(flags, name) {
			t.Errorf("the setting %s is no flag of tapwatch agent", name)
		}
	}
}

// The example of the documentation is a file that the agent takes.
func TestExampleOfTheConfiguration(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(doc), "## Sections of the file\n")
	if !found {
		t.Fatal("the documentation has no example")
	}
	var example strings.Builder
	for line := range strings.Lines(text) {
		if yaml, ok := strings.CutPrefix(line, "    "); ok {
			example.WriteString(yaml)
		} else if line != "\n" {
			break
		}
	}
	name := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(name, []byte(example.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, c, err := loadAgent(config.Loader{File: name})
	if err != nil {
		t.Fatal(err)
	}
	if len(f.ignore) != 2 || len(f.vmmUsers.UIDs) != 2 || len(c.Silence) != 2 || len(c.Rules) != 1 || len(f.checks.Off) != 1 || len(f.checks.Warn) != 1 || len(f.checks.Info) != 1 {
		t.Errorf("%+v %+v of\n%s", f, c, &example)
	}
}

func names(fs *pflag.FlagSet) (out []string) {
	fs.VisitAll(func(f *pflag.Flag) { out = append(out, f.Name) })
	return out
}

// documented is a default as the table of the documentation has it.
func documented(value string) string {
	if value == "" {
		return "none"
	}
	return "`" + value + "`"
}

func atSIGHUP(f *pflag.Flag) string {
	if config.IsLive(f) {
		return "taken"
	}
	return "restart"
}

func fileOf(t *testing.T, f *pflag.Flag, value string) string {
	t.Helper()
	var in any = value
	if _, list := f.Value.(pflag.SliceValue); list {
		in = []string{value}
	}
	key := config.Key(f.Name)
	if group, rest, ok := strings.Cut(key, "."); ok {
		key, in = group, map[string]any{rest: in}
	}
	text, err := yaml.Marshal(map[string]any{key: in})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func checkSource(t *testing.T, f *pflag.Flag, value string, l config.Loader, want config.Source) {
	t.Helper()
	_, c, err := loadAgent(l)
	if err != nil {
		t.Errorf("--%s %s from %s: %v", f.Name, value, want, err)
		return
	}
	for _, s := range c.Settings {
		if s.Name == config.Key(f.Name) && s.Source != want {
			t.Errorf("%s is of %s, not %s", s.Name, s.Source, want)
		}
	}
}

// A check is switched off or demoted by its code, once, and by no other name.
func TestCodesOfChecks(t *testing.T) {
	for text, want := range map[string]string{
		"checks:\n  off: [no-egress]\n  info: [tap-drops]\n": "",
		"checks: {}\n":                                       "",
		"checks:\n  off: [no-egres]\n":                       `:2: checks.off: "no-egres": no check has this code`,
		"checks:\n  of: [no-egress]\n":                       `:2: unknown key "checks.of"`,
		"checks: [no-egress]\n":                              ":1: checks: must be a mapping",
		"checks.off: [no-egress]\n":                          `:1: unknown key "checks.off"`,
		"checks_off: [no-egress]\n":                          `:1: unknown key "checks_off"`,
		"checks:\n  off: no-egress\n":                        ":2: checks.off: must be a list",
		"checks:\n  off: [no-egress]\n  warn: [no-egress]\n": "checks.warn: no-egress is in checks.off too",
	} {
		name := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := loadAgent(config.Loader{File: name})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
