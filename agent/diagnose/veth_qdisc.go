package diagnose

import (
	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

var vethQdisc = Check{
	Code:      "veth-qdisc",
	Title:     "A queueing discipline delays or drops what host and namespace send each other",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"veth-down"},
	Run: func(f path.Facts) Result {
		if f.Sandbox.Shape == registry.Fused {
			return notApplicable()
		}
		return qdiscs(f, func(q path.Qdisc) bool { return q.Host || q.Device != f.Device.Name })
	},
}
