package config

import (
	"errors"
	"fmt"
	"net/netip"

	"go.yaml.in/yaml/v3"

	"tapwatch/agent/identity"
)

// sections are the parts of the file that are no flags. What is left over are
// flags, by their keys.
type sections struct {
	Rules   []identity.Rule      `yaml:"rules"`
	Silence []silenceEntry       `yaml:"silence"`
	E2B     e2bEntry             `yaml:"e2b"`
	Flags   map[string]yaml.Node `yaml:",inline"`
}

// e2bEntry is the section e2b as it is written. The names are those of E2B's own
// settings, without SANDBOXES_.
type e2bEntry struct {
	HostNetworkCIDR string `yaml:"host_network_cidr"`
	VRTNetworkCIDR  string `yaml:"vrt_network_cidr"`
}

// take checks the sections and puts their values into c.
func (d *document) take(c *Config) error {
	if d.typed != nil {
		return d.typed
	}
	c.Rules, c.Modified = d.sections.Rules, d.modified
	errs := d.badRules()
	var bad []error
	c.Silence, bad = d.silences()
	errs = append(errs, bad...)
	e := d.sections.E2B
	var err error
	if c.E2B.Host, err = d.network("host_network_cidr", e.HostNetworkCIDR, c.E2B.Host); err != nil {
		errs = append(errs, err)
	}
	if c.E2B.VRT, err = d.network("vrt_network_cidr", e.VRTNetworkCIDR, c.E2B.VRT); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// badRules tries each rule alone, so that each has its line, and then all, which
// finds names that are taken and too many labels.
func (d *document) badRules() (errs []error) {
	rules := d.sections.Rules
	for i := range rules {
		_, err := identity.Compile(rules[i:i+1], identity.Options{Presets: []string{}, Since: d.modified})
		if err != nil {
			errs = append(errs, d.problem("rules: "+err.Error(), "rules", i))
		}
	}
	if errs == nil {
		if _, err := identity.Compile(rules, identity.Options{Since: d.modified}); err != nil {
			errs = append(errs, d.problem("rules: "+err.Error(), "rules"))
		}
	}
	return errs
}

func (d *document) network(key, value string, none netip.Prefix) (netip.Prefix, error) {
	if value == "" {
		return none, nil
	}
	p, err := netip.ParsePrefix(value)
	if err != nil || !p.Addr().Is4() {
		return p, d.problem(fmt.Sprintf("e2b.%s: %q: must be an IPv4 network like 10.11.0.0/16", key, value), "e2b", key)
	}
	return p.Masked(), nil
}

// problem returns a Problem at the line of the key or item that the way leads to.
func (d *document) problem(text string, way ...any) Problem {
	return Problem{File: d.name, Line: d.lineOf(way...), Text: text}
}

// sectionSettings returns the sections as settings. d is nil where there is no file:
// the sections are then empty, or have their defaults.
func (c *Config) sectionSettings(d *document) []Setting {
	of := func(name string, value any, live bool, way ...any) Setting {
		s := Setting{Name: name, Value: value, exact: value, Live: live, Source: Default}
		if d == nil {
			return s
		}
		if n, line := at(d.root, way...); n != nil {
			s.Source, s.Origin = File, fmt.Sprintf("%s:%d", d.name, line)
		}
		return s
	}
	rules := []any{}
	if d != nil {
		if n, _ := at(d.root, "rules"); n != nil {
			c.rules = follow(n)
			_ = n.Decode(&rules) // a list: it was decoded once already
		}
	}
	return []Setting{
		of("rules", rules, true, "rules"),
		of("silence", plainSilences(c.Silence), true, "silence"),
		of("e2b.host_network_cidr", c.E2B.Host.String(), false, "e2b", "host_network_cidr"),
		of("e2b.vrt_network_cidr", c.E2B.VRT.String(), false, "e2b", "vrt_network_cidr"),
	}
}
