package identity

import (
	"tapwatch/internal/clean"
)

// holds reports whether the rule's conditions do.
func (c *compiled) holds(v *view) bool {
	if c.host != nil && *c.host != v.Host {
		return false
	}
	for i := range c.conditions {
		if _, ok := v.holds(&c.conditions[i]); !ok {
			return false
		}
	}
	if c.unlessHost != nil && *c.unlessHost == v.Host {
		return false
	}
	for i := range c.unless {
		if _, ok := v.holds(&c.unless[i]); ok {
			return false
		}
	}
	return true
}

// match returns the values for the rule's templates where it holds.
func (c *compiled) match(v *view) ([]string, bool) {
	if !c.holds(v) {
		return nil, false
	}
	values := make([]string, c.groups)
	for i := range c.conditions {
		p := &c.conditions[i].pattern
		if len(p.groups) < 2 {
			continue
		}
		subject, _ := v.holds(&c.conditions[i])
		at := p.re.FindStringSubmatchIndex(subject)
		for g, to := range p.groups {
			if to >= 0 && at[2*g] >= 0 {
				values[to] = subject[at[2*g]:at[2*g+1]]
			}
		}
	}
	facts := values[c.groups-len(builtin):]
	facts[0], facts[1], facts[2] = v.Netns, v.Device, v.Command
	return values, true
}

// identify makes id what the rule says, and reports whether the rule holds.
func (c *compiled) identify(v *view, id *Identity) bool {
	values, ok := c.match(v)
	if !ok {
		return false
	}
	sandbox := clean.Label(c.sandboxID.fill(values))
	if sandbox == "" && len(c.sandboxID.texts) > 0 {
		return false
	}
	*id = Identity{SandboxID: sandbox, Launcher: clean.Label(c.launcher.fill(values)), Role: c.role, Rule: clean.Label(c.name), Expect: c.expect}
	c.decorate(id, values)
	return true
}

// decorate adds what the rule sets and nobody before it has.
func (c *compiled) decorate(id *Identity, values []string) {
	add := func(field *string, t *template) {
		if *field == "" && len(t.texts) > 0 {
			*field = clean.Label(t.fill(values))
		}
	}
	add(&id.Name, &c.display)
	add(&id.Template, &c.template)
	add(&id.Team, &c.team)
	add(&id.Slot, &c.slot)
	for i := range c.labels {
		l := &c.labels[i]
		value := clean.Label(l.value.fill(values))
		if _, taken := id.Labels[l.name]; taken || value == "" {
			continue
		}
		if id.Labels == nil {
			id.Labels = map[string]string{}
		}
		id.Labels[l.name] = value
	}
	if c.silence.Until.After(id.Silence.Until) {
		id.Silence = Silence{Until: c.silence.Until, Reason: clean.Text(c.silence.Reason), Rule: clean.Label(c.name)}
	}
	if !id.Expect.Assumed() {
		id.Expect = c.expect
	}
}

// byExecutable reports whether the executable itself is what the rule asks for.
// Whoever starts a process chooses its first argument.
func (c *compiled) byExecutable(v *view) bool {
	found := false
	for i := range c.conditions {
		switch p := &c.conditions[i].pattern; c.conditions[i].fact {
		case factProgram:
			if v.exe == "" || !p.matches(v.exe) {
				return false
			}
			found = true
		case factExe:
			found = true
		}
	}
	return found
}
