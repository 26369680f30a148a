package diagnose

import (
	"fmt"
	"slices"

	"tapwatch/agent/path"
)

// Validate says what is wrong with the codes of levels: one that no check has, or that
// is there twice.
func Validate(l path.Levels) error {
	in := map[string]string{}
	for _, level := range l.Lists() {
		for _, code := range level.Codes {
			before, twice := in[code]
			switch {
			case !slices.ContainsFunc(Checks, func(c Check) bool { return c.Code == code }):
				return fmt.Errorf("checks.%s: no check has the code %q: docs/checks has a page for each", level.Key, code)
			case twice:
				return fmt.Errorf("checks.%s: %s is in checks.%s too", level.Key, code, before)
			}
			in[code] = level.Key
		}
	}
	return nil
}

// With returns the checks as an operator wants them.
func (s Set) With(l path.Levels) Set {
	s = slices.Clone(s)
	for _, level := range l.Lists() {
		for i := range s {
			if slices.Contains(level.Codes, s[i].Code) {
				s[i].off, s[i].most = level.Most == "", level.Most
			}
		}
	}
	return s
}
