package drill

import (
	"context"

	"tapwatch/agent/path"
)

// What can be wrong in the namespace, between the veth pair and the tap.
var relayFaults = []Fault{
	{
		Name: "relay-dead", What: "the relay is gone",
		Hop: path.Relay, Expected: "relay-not-listening",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return b.Manager.StopRelay(b.ID)
		},
	},
}
