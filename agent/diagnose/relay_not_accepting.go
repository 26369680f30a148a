package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

// overflowHold is for how long a queue that overflowed is told of.
const overflowHold = 10 * time.Second

var relayNotAccepting = Check{
	Code:      "relay-not-accepting",
	Title:     "The relay does not accept connections",
	Hop:       path.Relay,
	Severity:  path.Critical,
	DependsOn: []string{"relay-wrong-address", "relay-not-listening", "relay-fd-limit"},
	InBoot:    true,
	Fades:     true,
	Run: func(f path.Facts) Result {
		if !path.HasRelay(f.Sandbox.Shape) {
			return notApplicable()
		}
		if r, same := ofProxy(f, proxyNotAccepting.Run(f)); same {
			return r
		}
		r := notAccepting(f, f.Relay, "the relay", "in "+where(f))
		if over := f.Inside.Overflows; r.verdict == beside && f.Relay.Listening == path.Yes && over != nil && !over.Last.IsZero() && f.Now.Sub(over.Last) <= overflowHold {
			return wrong(path.Finding{
				Severity: path.Warning,
				Cause:    fmt.Sprintf("the relay, %s, accepts too slowly for bursts: %d connections found its queue full, and had to be tried again after a second", processWords(f.Relay.Process), over.Count),
				Evidence: []string{fmt.Sprintf("%[2]d connections found an accept queue of %[1]s full, the last %[3]s", where(f), over.Count, ago(f.Now, over.Last)),
					queueWords(f.Relay, "in "+where(f))},
				Fix: "give it a longer queue (socat: backlog=128) and more CPU; net.core.somaxconn in " + where(f) + " bounds the queue",
			})
		}
		return r
	},
}
