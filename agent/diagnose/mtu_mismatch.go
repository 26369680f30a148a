package diagnose

import (
	"fmt"

	"tapwatch/agent/path"
)

var mtuMismatch = Check{
	Code:      "mtu-mismatch",
	Title:     "The MTU differs along the path",
	Hop:       path.Guest,
	Severity:  path.Warning,
	DependsOn: append([]string{"veth-down"}, tapFaults...),
	Run: func(f path.Facts) Result {
		if f.Device.MTU == 0 || f.Veth.MTU == 0 || f.Device.MTU == f.Veth.MTU {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("%s has an MTU of %d, %s in front of it %d: large packets may be lost on the way", f.Device.Name, f.Device.MTU, f.Veth.Peer, f.Veth.MTU),
			Evidence: []string{fmt.Sprintf("IFLA_MTU in %s: %s %d, %s %d", f.Netns, f.Device.Name, f.Device.MTU, f.Veth.Peer, f.Veth.MTU)},
			Fix:      fmt.Sprintf("ip -n %s link set %s mtu %d, and the same inside the guest", f.Netns, f.Device.Name, f.Veth.MTU),
		})
	},
}
