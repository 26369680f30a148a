package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var tcpMemory = Check{
	Code:     "tcp-memory",
	Title:    "TCP sockets have used up the memory that the host gives them",
	Hop:      path.Proxy,
	Severity: path.Critical,
	Run: func(f path.Facts) Result {
		m := f.Inside.TCPMemory
		if m == nil || m.Pages < m.Pressure {
			return notApplicable()
		}
		finding := path.Finding{
			Cause:    "the host's TCP sockets use all the memory that they may: connections stall, and are cut",
			Evidence: []string{fmt.Sprintf("/proc/net/sockstat: %d pages in use; net.ipv4.tcp_mem: pressure from %d on, at most %d", m.Pages, m.Pressure, m.Max)},
			Fix:      "see whose sockets hold so much (ss -tmp: skmem), mostly a program that does not read; end it, or raise net.ipv4.tcp_mem on the host, which counts for every namespace",
		}
		if m.Pages < m.Max {
			finding.Severity = path.Warning
			finding.Cause = "the host's TCP sockets are under memory pressure: the kernel shrinks their windows and drops what is out of order"
		}
		return wrong(finding)
	},
}
