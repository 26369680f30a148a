package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tapwatch/agent/path"
)

var ruleDrops = Check{
	Code:      "rule-drops",
	Title:     "A rule in the namespace drops what the path needs",
	Hop:       path.Relay,
	Fused:     path.Tap, // the proxy dials through the same namespace
	Severity:  path.Critical,
	Loses:     true,
	DependsOn: []string{"veth-down", "host-rule-drops"},
	Run:       func(f path.Facts) Result { return byRules(f.Rules.Filters, where(f), in(f)) },
}

// byRules is what the packet filters of a namespace do with the path. Inside stands
// before a command that is to run there.
func byRules(rules path.Filters, where, inside string) Result {
	finding := path.Finding{
		Evidence: append(rules.Stop(), rules.Partly...),
		Fix:      "find the rule (" + inside + "nft -a list ruleset, or iptables-save) and take it out: " + inside + "nft delete rule FAMILY TABLE CHAIN handle N; see who set it",
	}
	switch {
	case len(rules.Drops) > 0:
		finding.Cause = "a packet filter in " + where + " drops " + taken(rules.Drops[0])
	case len(rules.Redirects) > 0:
		finding.Cause = "a packet filter in " + where + " redirects " + taken(rules.Redirects[0])
	case len(rules.Partly) > 0:
		finding.Cause = "a packet filter in " + where + " drops some of what the path needs: " + rules.Partly[0]
		finding.Severity = path.Warning
	default:
		return notApplicable()
	}
	finding.Evidence = append(finding.Evidence, notJudged(rules.NotJudged)...)
	return wrong(finding)
}

// taken says what a rule takes from the path, by the words for the rule.
func taken(rule string) string {
	for _, verb := range []string{" drops ", " redirects "} {
		if _, what, ok := strings.Cut(rule, verb); ok {
			what, _, _ = strings.Cut(what, ", by ")
			return what
		}
	}
	return "what the path needs"
}

// notJudgedMost bounds how many rules are named.
const notJudgedMost = 4

// notJudged says which rules may be the cause as well; nothing where all are understood.
func notJudged(rules []string) []string {
	n := len(rules)
	switch {
	case n == 0:
		return nil
	case n == 1:
		return []string{"1 rule that may drop this was not judged: " + rules[0]}
	case n > notJudgedMost:
		rules = append(slices.Clone(rules[:notJudgedMost]), fmt.Sprintf("and %d more", n-notJudgedMost))
	}
	return []string{fmt.Sprintf("%d rules that may drop this were not judged: %s", n, strings.Join(rules, "; "))}
}

// cutOff says whether a packet filter is known to keep the guest from being asked, or from
// being heard: its silence is then no fault of its own.
func cutOff(f path.Facts) bool {
	return len(f.Rules.Stop())+len(f.Rules.Host.Stop()) > 0 || hasXDP(f)
}

// hasXDP says whether an XDP program at the tap takes what the guest sends before any
// hook sees it.
func hasXDP(f path.Facts) bool {
	return slices.Contains(f.Rules.NotJudged, path.XDPOn(f.Device.Name))
}

// behindRules is what is known of a guest that is cut off.
func behindRules() Result {
	return unsure("not checked: a packet filter stands between the guest and whoever asks")
}

// unjudged is the same of all rules on the path: of the host, and of the tap's namespace.
func unjudged(f path.Facts) (evidence []string) {
	for _, rule := range notJudged(f.Rules.Host.NotJudged) {
		evidence = append(evidence, "on the host: "+rule)
	}
	for _, rule := range notJudged(f.Rules.NotJudged) {
		evidence = append(evidence, "in "+where(f)+": "+rule)
	}
	return evidence
}
