package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var relayNoPorts = Check{
	Code:     "relay-no-ports",
	Title:    "No port is free for connections to the guest",
	Hop:      path.Relay,
	Fused:    path.Proxy,
	Severity: path.Critical,
	Run: func(f path.Facts) Result {
		p := f.Inside.Ports
		if p == nil || 10*p.Used < 9*p.Most {
			return notApplicable()
		}
		finding := path.Finding{
			Cause:    fmt.Sprintf("%s has no port left for another connection to %s, with %d of %d in use: each new one fails (EADDRNOTAVAIL)", where(f), envdAt(f), p.Used, p.Most),
			Evidence: []string{fmt.Sprintf("in %s %d connections to %s, those in TIME_WAIT among them, share %d ports (net.ipv4.ip_local_port_range without ip_local_reserved_ports)", where(f), p.Used, envdAt(f), p.Most)},
			Fix: "give them more ports: " + in(f) + "sysctl -w net.ipv4.ip_local_port_range='10240 65535', or net.ipv4.tcp_tw_reuse=1 there; see who makes so many connections (" + in(f) +
				"ss -tan dst " + f.Device.GuestAddr + "): clients that keep theirs open need fewer",
		}
		if p.Used < p.Most {
			finding.Severity = path.Warning
			finding.Cause = fmt.Sprintf("%s has nearly no port left for connections to %s, with %d of %d in use: soon new ones fail (EADDRNOTAVAIL)", where(f), envdAt(f), p.Used, p.Most)
		}
		return wrong(finding)
	},
}
