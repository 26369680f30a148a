package registry

import "fmt"

// Shape is how the proxy reaches the guest of a slot. Its words are recorded, for
// agents to read. Empty is unknown.
type Shape string

// The shapes of a path.
const (
	// Relay has a relay listen in the namespace.
	Relay Shape = "relay"
	// Fused has the proxy dial the guest from inside the namespace itself.
	Fused Shape = "fused"
	// DNAT has the namespace's kernel pass what comes for HostIP on to the
	// guest, as upstream E2B does.
	DNAT Shape = "dnat"
	// Routed has the namespace's kernel route to the guest, whose address the host
	// knows.
	Routed Shape = "routed"
	// Bridged has a bridge join the tap to what leads to the proxy.
	Bridged Shape = "bridged"
)

// Launchable is the shapes that our launcher makes, the default first.
var Launchable = []Shape{Relay, Fused, DNAT}

// Validate says what is allowed where s is no shape that our launcher makes.
func (s Shape) Validate() error {
	for _, known := range Launchable {
		if s == known {
			return nil
		}
	}
	return fmt.Errorf("path %.40q: must be relay, fused or dnat", string(s))
}
