package diagnose

import (
	"slices"
	"testing"

	"tapwatch/agent/path"
)

// What an operator wants to hear less of breaks no hop, and what is switched off is
// neither found nor cleared. Nobody saw the relay work, so it is unknown then.
func TestLevels(t *testing.T) {
	for name, tt := range map[string]struct {
		levels   path.Levels
		want     string
		severity path.Severity
	}{
		"as it is":          {path.Levels{}, "broken: ok broken ok ok ok [relay-not-listening]", path.Critical},
		"a warning at most": {path.Levels{Warn: []string{"relay-not-listening"}}, "unknown: ok unknown ok ok ok [relay-not-listening]", path.Warning},
		"info at most":      {path.Levels{Info: []string{"relay-not-listening"}}, "unknown: ok unknown ok ok ok [relay-not-listening]", path.Info},
		"off":               {path.Levels{Off: []string{"relay-not-listening"}}, "unknown: ok unknown ok ok ok []", ""},
		"another is off":    {path.Levels{Off: []string{"tap-down"}}, "broken: ok broken ok ok ok [relay-not-listening]", path.Critical},
	} {
		d := Checks.With(tt.levels).Run(changed(relayGone))
		if got := summary(d); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
		for _, f := range d.Findings {
			if f.Severity != tt.severity {
				t.Errorf("%s: %s is %s", name, f.Code, f.Severity)
			}
		}
		for _, code := range tt.levels.Off {
			if !slices.Contains(d.Undecided, code) {
				t.Errorf("%s: %s is off, and not among the undecided: %v", name, code, d.Undecided)
			}
		}
	}
	if slices.ContainsFunc(Checks, func(c Check) bool { return c.off || c.most != "" }) {
		t.Error("With changes the checks of all")
	}
}

// A warning is demoted to info, and never promoted.
func TestLevelsDemoteOnly(t *testing.T) {
	for want, l := range map[path.Severity]path.Levels{
		path.Info:    {Info: []string{"no-egress"}},
		path.Warning: {Warn: []string{"no-egress"}},
	} {
		i := slices.IndexFunc(Checks, func(c Check) bool { return c.Code == "no-egress" })
		if got := Checks.With(l)[i].named(path.Finding{}, path.Relay).Severity; got != want {
			t.Errorf("%s: got %s, want %s", l, got, want)
		}
	}
	i := slices.IndexFunc(Checks, func(c Check) bool { return c.Code == "port-refused" })
	if got := Checks.With(path.Levels{Warn: []string{"port-refused"}})[i].named(path.Finding{}, path.Envd).Severity; got != path.Info {
		t.Errorf("info became %s", got)
	}
}

func TestValidate(t *testing.T) {
	for text, l := range map[string]path.Levels{
		"": {Off: []string{"no-egress"}, Warn: []string{"tap-down"}, Info: []string{"tap-drops"}},
		`checks.off: no check has the code "nonsense": docs/checks has a page for each`: {Off: []string{"nonsense"}},
		"checks.info: tap-down is in checks.off too":                                    {Off: []string{"tap-down"}, Info: []string{"tap-down"}},
		"checks.warn: tap-down is in checks.warn too":                                   {Warn: []string{"tap-down", "tap-down"}},
	} {
		got := ""
		if err := Validate(l); err != nil {
			got = err.Error()
		}
		if got != text {
			t.Errorf("%+v: %q, want %q", l, got, text)
		}
	}
}
