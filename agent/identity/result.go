package identity

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// result compiles what a rule sets.
func (c *compiled) result(set *Result, names []string, since time.Time) (err error) {
	fill := func(field, text string) template {
		t, bad := newTemplate(text, names)
		if bad != nil && err == nil {
			err = fmt.Errorf("set.%s: %w", field, bad)
		}
		return t
	}
	c.sandboxID, c.display = fill("sandbox_id", set.SandboxID), fill("name", set.Name)
	c.template, c.team = fill("template", set.Template), fill("team", set.Team)
	c.slot, c.launcher = fill("slot", set.Slot), fill("launcher", set.Launcher)
	if set.Launcher == "" {
		c.launcher = template{texts: []string{c.name}}
	}
	for _, name := range slices.Sorted(maps.Keys(set.Labels)) {
		if err == nil && (!labelName.MatchString(name) || strings.HasPrefix(name, "__")) {
			err = fmt.Errorf("set.labels: %q is no name of a label", name)
		}
		if err == nil && slices.Contains(reserved, name) {
			err = fmt.Errorf("set.labels: %q is a label already", name)
		}
		c.labels = append(c.labels, label{name, fill("labels."+name, set.Labels[name])})
	}
	switch {
	case err != nil:
		return err
	case len(set.Labels) > MaxRuleLabels:
		return fmt.Errorf("set.labels: %d labels, at most %d", len(set.Labels), MaxRuleLabels)
	}
	if c.role = set.Role; c.role == "" && !c.decorates {
		c.role = RoleVMM
	}
	switch c.role {
	case RoleVMM, RoleSlot, RoleIgnore:
	case "":
		if c.empty(set) {
			return errors.New("set: nothing is set")
		}
	default:
		return fmt.Errorf("set.role: %q: must be vmm, slot or ignore", string(c.role))
	}
	if c.role != RoleVMM && set.SandboxID != "" {
		return fmt.Errorf("set.sandbox_id: a tap of role %s has no sandbox", c.role)
	}
	if c.silence, err = set.Silence.compile(c.name, since); err != nil {
		return err
	}
	c.expect, err = set.Expect.compile()
	return err
}

func (c *compiled) empty(set *Result) bool {
	return set.Name+set.Template+set.Team+set.Slot == "" && len(set.Labels) == 0 && set.Silence == RuleSilence{} && set.Expect == RuleExpect{}
}

// labelName is Prometheus's rule for names of labels.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// reserved are labels that metrics of taps and the scraping of them have already.
var reserved = []string{
	"build_id", "capability", "cause", "code", "comm", "device", "direction", "errno", "finding", "hop", "how",
	"instance", "job", "launcher", "layer", "le", "mode", "name", "netns", "operation", "origin", "outcome",
	"part", "phase", "quantile", "reason", "result", "role", "sandbox_id", "severity", "shape", "side", "source",
	"state", "team", "template",
}

func (s RuleSilence) compile(rule string, since time.Time) (Silence, error) {
	switch {
	case s == RuleSilence{}:
		return Silence{}, nil
	case s.For < 0:
		return Silence{}, errors.New("set.silence.for: must not be negative")
	case s.For != 0 && !s.Until.IsZero():
		return Silence{}, errors.New("set.silence: either for or until, not both")
	case s.For != 0 && since.IsZero():
		return Silence{}, errors.New("set.silence.for: it is not known when the rules were written; use until")
	case s.For != 0:
		return Silence{Until: since.Add(s.For), Reason: s.Reason, Rule: rule}, nil
	case s.Until.IsZero():
		return Silence{}, errors.New("set.silence: needs for or until")
	}
	return Silence{Until: s.Until, Reason: s.Reason, Rule: rule}, nil
}

func (e RuleExpect) compile() (x Expect, err error) {
	x.Tap = e.Tap
	if e.TapAddress != "" {
		if x.TapAddress, err = netip.ParsePrefix(e.TapAddress); err != nil {
			return x, fmt.Errorf("set.expect.tap_address: %q: must be an address and a length like 169.254.0.22/30", e.TapAddress)
		}
	}
	if e.Guest != "" {
		if x.Guest, err = netip.ParseAddr(e.Guest); err != nil {
			return x, fmt.Errorf("set.expect.guest: %q: must be an address like 169.254.0.21", e.Guest)
		}
	}
	return x, nil
}
