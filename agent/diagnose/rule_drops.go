package diagnose

import "tapwatch/agent/path"

var ruleDrops = Check{
	Code:      "rule-drops",
	Title:     "A rule in the namespace drops what the path needs",
	Hop:       path.Relay,
	Fused:     path.Tap, // the proxy dials through the same namespace
	Severity:  path.Critical,
	DependsOn: []string{"veth-down"},
	Run: func(f path.Facts) Result {
		if len(f.Rules.Drops) == 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "a packet filter in " + where(f) + " drops what the path needs",
			Evidence: f.Rules.Drops,
			Fix:      in(f) + "nft list ruleset (or iptables-save), and take the rule out: nft delete rule ..., by its handle",
		})
	},
}
