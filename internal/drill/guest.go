package drill

import (
	"tapwatch/agent/path"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm"
)

// What can be wrong with the guest's kernel and its network.
var guestFaults = []Fault{
	{
		Name: "guest-no-driver", What: "the guest's kernel has no driver for the NIC",
		Hop: path.Guest, Expected: "guest-silent", Variant: template.NoDriver,
	},
	{
		Name: "guest-wrong-address", What: "the guest gets the address 169.254.0.25",
		Hop: path.Guest, Expected: "guest-no-arp",
		Launch: func(_ *World, req *sandbox.CreateRequest) (func(), error) {
			req.Alter = func(s *vmm.Spec) error {
				s.Cmdline = "ip=169.254.0.25::169.254.0.26:255.255.255.252:instance:eth0:off:tap0"
				return nil
			}
			return nil, nil
		},
	},
}
