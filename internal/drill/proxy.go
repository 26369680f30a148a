package drill

import (
	"context"

	"tapwatch/agent/path"
)

// What can be wrong with layer 1.
var proxyFaults = []Fault{
	{
		Name: "proxy-dead", What: "layer 1 is gone",
		Hop: path.Proxy, Expected: "proxy-not-listening",
		Make: func(_ context.Context, b *Box) (func() error, error) {
			return b.Proxy.Restart, b.Proxy.Close()
		},
	},
}
