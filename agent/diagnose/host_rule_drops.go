package diagnose

import "tapwatch/agent/path"

var hostRuleDrops = Check{
	Code:      "host-rule-drops",
	Title:     "A rule of the host drops what the path needs",
	Hop:       path.Relay,
	Severity:  path.Critical,
	Loses:     true,
	DependsOn: []string{"veth-down"},
	Run:       func(f path.Facts) Result { return byRules(f.Rules.Host, named(hostName), "") },
}
