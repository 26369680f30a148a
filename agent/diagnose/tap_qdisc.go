package diagnose

import "tapwatch/agent/path"

var tapQdisc = Check{
	Code:      "tap-qdisc",
	Title:     "A queueing discipline delays or drops what is sent to the guest",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: append([]string{"no-carrier"}, carrierFaults...),
	Run: func(f path.Facts) Result {
		return qdiscs(f, func(q path.Qdisc) bool { return !q.Host && q.Device == f.Device.Name })
	},
}
