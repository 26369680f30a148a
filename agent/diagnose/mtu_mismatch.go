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
	Inferred:  true,
	DependsOn: append([]string{"veth-down"}, tapFaults...),
	Run: func(f path.Facts) Result {
		v := f.Veth
		if v.MTU != 0 && v.HostMTU != 0 && v.MTU != v.HostMTU {
			return wrong(path.Finding{
				Cause:    fmt.Sprintf("%s has an MTU of %d, and its other end %s one of %d: the smaller end drops larger packets, and tells nobody", v.Host, v.HostMTU, v.Peer, v.MTU),
				Evidence: []string{fmt.Sprintf("the MTU of %s on the host is %d, that of %s in %s is %d", v.Host, v.HostMTU, v.Peer, where(f), v.MTU)},
				Fix:      fmt.Sprintf("ip link set %s mtu %d; or, for %s, %s link set %[3]s mtu %[5]d", v.Host, v.MTU, v.Peer, ip(f), v.HostMTU),
			})
		}
		if f.Device.MTU == 0 || v.MTU == 0 || f.Device.MTU == v.MTU {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    fmt.Sprintf("%s has an MTU of %d, and %s in front of it one of %d: large packets may be lost on the way", f.Device.Name, f.Device.MTU, f.Veth.Peer, f.Veth.MTU),
			Evidence: []string{fmt.Sprintf("in %s the MTU of %s is %d, that of %s is %d", where(f), f.Device.Name, f.Device.MTU, f.Veth.Peer, f.Veth.MTU)},
			Fix:      fmt.Sprintf("%s link set %s mtu %d, and the same inside the guest", ip(f), f.Device.Name, f.Veth.MTU),
		})
	},
}
