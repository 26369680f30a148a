package identity

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// pattern is a regular expression with the literals of which one must occur in
// whatever it matches. Most strings have none of them, and cost no matching.
type pattern struct {
	re       *regexp.Regexp
	literals []string // none: not known
	any      bool     // the expression is ".": the fact must be known
	groups   []int    // by subexpression: its place among the rule's groups, -1 for none
}

func newPattern(expr string) (pattern, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return pattern{}, err
	}
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return pattern{}, err
	}
	return pattern{re: re, literals: required(parsed), any: expr == "."}, nil
}

// possible reports whether s has what any match needs.
func (p *pattern) possible(s string) bool {
	for _, l := range p.literals {
		if strings.Contains(s, l) {
			return true
		}
	}
	return len(p.literals) == 0
}

func (p *pattern) matches(s string) bool { return p.any || p.possible(s) && p.re.MatchString(s) }

// maxLiterals is how many alternatives are worth a search each.
const maxLiterals = 8

// required returns strings of which each match of re contains at least one; nil
// where there is no such set, or where it is large.
func required(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return []string{string(re.Rune)}
		}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if l := required(sub); len(l) > 0 && (best == nil || shortest(l) > shortest(best)) {
				best = l
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			l := required(sub)
			if len(l) == 0 || len(all)+len(l) > maxLiterals {
				return nil
			}
			all = append(all, l...)
		}
		return all
	}
	return nil
}

func shortest(literals []string) int {
	n := len(literals[0])
	for _, l := range literals {
		n = min(n, len(l))
	}
	return n
}
