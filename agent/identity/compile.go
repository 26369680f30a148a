package identity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// The bounds of labels. Each name is a label of metrics.
const (
	MaxRuleLabels = 4 // of one rule
	MaxLabels     = 8 // different names in all rules
)

// Options say how rules are compiled. The zero value is usable.
type Options struct {
	// Presets are the launchers with presets in force; nil: all of them.
	Presets []string
	// VMMUsers are the users beside root that run VMMs: their processes are believed
	// by their command line. None by default.
	VMMUsers []uint32
	// JailBases are the directories in which only root makes jails. Nil: /srv/jailer.
	JailBases []string
	// Since is when the rules were written, from which `silence: {for: 2h}` counts.
	Since time.Time
}

// compiled is a Rule whose mistakes are ruled out.
type compiled struct {
	name       string
	host       *bool
	conditions []condition
	unlessHost *bool
	unless     []condition
	groups     int // values that templates use: named groups, then the builtin ones

	sandboxID, display, template, team, launcher, slot template
	role                                               Role
	labels                                             []label
	silence                                            Silence
	expect                                             Expect

	decorates bool
	claims    bool // its conditions are about a program: what matches claims to be a VMM
}

type label struct {
	name  string
	value template
}

// builtin are the facts that templates may use beside the groups of a rule.
var builtin = []string{"netns", "device", "command"}

// Compile checks the operator's rules and joins them with the presets, which come
// after them. The error is one line that names the first wrong rule and its field.
func Compile(operator []Rule, o Options) (*Set, error) {
	presets, err := choose(o.Presets)
	if err != nil {
		return nil, err
	}
	s := &Set{users: o.VMMUsers, jails: o.JailBases}
	if s.jails == nil {
		s.jails = []string{"/srv/jailer"}
	}
	names, labels := map[string]bool{}, map[string]bool{}
	for i, r := range slices.Concat(operator, presets) {
		if r.Name == "" {
			return nil, fmt.Errorf("rule %d: name: must not be empty", i+1)
		}
		if names[r.Name] {
			return nil, fmt.Errorf("rule %q: name: another rule has it", r.Name)
		}
		names[r.Name] = true
		c, err := compile(&r, o.Since)
		if err != nil {
			return nil, fmt.Errorf("rule %q: %w", r.Name, err)
		}
		for _, l := range c.labels {
			labels[l.name] = true
		}
		if len(labels) > MaxLabels {
			return nil, fmt.Errorf("rule %q: set.labels: more than %d names in all rules", r.Name, MaxLabels)
		}
		if c.decorates {
			s.decorations = append(s.decorations, c)
		} else {
			s.rules = append(s.rules, c)
			if c.host == nil && !slices.ContainsFunc(c.conditions, func(c condition) bool { return c.fact != factNetns }) {
				s.byNetns = append(s.byNetns, c)
			}
		}
	}
	s.labels = slices.Sorted(maps.Keys(labels))
	return s, nil
}

// choose returns the presets of some launchers.
func choose(launchers []string) ([]Rule, error) {
	all := Presets()
	if launchers == nil {
		return all, nil
	}
	for _, l := range launchers {
		if !slices.ContainsFunc(all, func(r Rule) bool { return r.Set.Launcher == l }) {
			return nil, fmt.Errorf("choose presets: %q is none", l)
		}
	}
	return slices.DeleteFunc(all, func(r Rule) bool { return !slices.Contains(launchers, r.Set.Launcher) }), nil
}

func compile(r *Rule, since time.Time) (*compiled, error) {
	c := &compiled{name: r.Name, host: r.Match.Host, unlessHost: r.Unless.Host, decorates: r.decorates()}
	var groups []string
	var err error
	if c.conditions, groups, err = conditions("match", &r.Match, c.decorates); err != nil {
		return nil, err
	}
	var odd []string
	if c.unless, odd, err = conditions("unless", &r.Unless, c.decorates); err != nil {
		return nil, err
	}
	switch {
	case len(odd) > 0:
		return nil, fmt.Errorf("unless: group %q: what must not match gives no values", odd[0])
	case !c.decorates && len(c.conditions) == 0 && c.host == nil:
		return nil, errors.New("match: at least one condition is needed")
	}
	c.groups = len(groups) + len(builtin)
	if err := c.result(&r.Set, slices.Concat(groups, builtin), since); err != nil {
		return nil, err
	}
	c.claims = c.role == RoleVMM && slices.ContainsFunc(c.conditions, func(c condition) bool {
		return c.fact == factProgram || c.fact == factExe || c.fact == factCommand || c.fact == factArgs || c.fact == factArg
	})
	return c, nil
}

// conditions compiles those of one Match. It returns the names of their groups.
func conditions(field string, m *Match, decorates bool) (all []condition, groups []string, err error) {
	add := func(f fact, name, flag, expr string) {
		if expr == "" || err != nil {
			return
		}
		p, bad := newPattern(expr)
		if bad != nil {
			err = fmt.Errorf("%s.%s: %w", field, name, bad)
			return
		}
		for _, g := range p.re.SubexpNames() {
			at := -1
			if g != "" {
				if slices.Contains(groups, g) || slices.Contains(builtin, g) {
					err = fmt.Errorf("%s.%s: group %q: the name is taken", field, name, g)
					return
				}
				at = len(groups)
				groups = append(groups, g)
			}
			p.groups = append(p.groups, at)
		}
		all = append(all, condition{fact: f, flag: flag, pattern: p})
	}
	if !decorates && m.Launcher+m.Sandbox+m.Template != "" {
		return nil, nil, fmt.Errorf("%s: launcher, sandbox and template are not decided yet where sandbox_id, role or launcher is set", field)
	}
	for flag := range m.Arg {
		if !strings.HasPrefix(flag, "-") {
			return nil, nil, fmt.Errorf("%s.arg: %q: a flag begins with a dash", field, flag)
		}
	}
	add(factNetns, "netns", "", m.Netns)
	add(factDevice, "device", "", m.Device)
	add(factKind, "kind", "", m.Kind)
	add(factCommand, "command", "", m.Command)
	add(factProgram, "program", "", m.Program)
	add(factExe, "exe", "", m.Exe)
	add(factRoot, "root", "", m.Root)
	add(factCwd, "cwd", "", m.Cwd)
	add(factCgroup, "cgroup", "", m.Cgroup)
	add(factLauncher, "launcher", "", m.Launcher)
	add(factSandbox, "sandbox", "", m.Sandbox)
	add(factTemplate, "template", "", m.Template)
	add(factSocket, "socket", "", m.Socket)
	for _, flag := range slices.Sorted(maps.Keys(m.Arg)) {
		add(factArg, "arg."+flag, flag, m.Arg[flag])
	}
	add(factArgs, "args", "", m.Args)
	return all, groups, err
}
