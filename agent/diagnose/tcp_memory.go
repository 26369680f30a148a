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
			Cause:    fmt.Sprintf("the host's TCP sockets use all the memory that they may, %d of %d pages: connections stall, and are cut", m.Pages, m.Max),
			Evidence: []string{fmt.Sprintf("%d pages are in use (/proc/net/sockstat); the kernel saves from %d on, and gives no more than %d (net.ipv4.tcp_mem)", m.Pages, m.Pressure, m.Max)},
			Fix:      "see whose sockets hold so much (ss -tmp, the numbers of skmem), mostly those of a program that does not read; end it, or raise net.ipv4.tcp_mem on the host, which counts for every namespace",
		}
		if m.Pages < m.Max {
			finding.Severity = path.Warning
			finding.Cause = fmt.Sprintf("the host's TCP sockets run out of memory, with %d of %d pages in use: the kernel makes their windows smaller and drops segments that are out of order", m.Pages, m.Max)
		}
		return wrong(finding)
	},
}
