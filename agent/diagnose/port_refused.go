package diagnose

import (
	"fmt"
	"slices"
	"time"

	"tapwatch/agent/path"
)

// portPatience is how long a port may be refused, again and again, before that is
// told: a client that waits for a service to start asks in vain for a while.
const portPatience = 10 * time.Second

var portRefused = Check{
	Code:      "port-refused",
	Title:     "The guest refuses connections to another port than envd's",
	Hop:       path.Envd,
	Severity:  path.Info,
	DependsOn: slices.Concat([]string{"guest-silent", "guest-no-arp", "envd-refused", "envd-no-answer"}, guestFaults),
	Last:      true, // the path is well: what listens behind it is its user's
	Run: func(f path.Facts) Result {
		t := f.Traffic
		if t == nil || !sinceAttach(f, t.PortRefusedSince) || f.Now.Sub(t.LastPortRefused) > Lately {
			return notApplicable()
		}
		lasts := t.LastPortRefused.Sub(t.PortRefusedSince)
		if lasts < portPatience {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("the guest refuses connections to port %d: it is up, and nothing listens there", t.RefusedPort),
			Evidence: []string{
				fmt.Sprintf("the guest's kernel reset a connection to port %d %s, and has done so again and again for %s", t.RefusedPort, ago(f.Now, t.LastPortRefused), inWords(lasts)),
				fmt.Sprintf("the guest has refused %d connections to other ports than envd's", t.PortsRefused),
			},
			Fix: fmt.Sprintf("see what listens in the guest (%s): the service has not started, has died, or listens on 127.0.0.1 alone; have it listen on 0.0.0.0:%d", inGuest(f, "ss -ltn"), t.RefusedPort),
		})
	},
}
