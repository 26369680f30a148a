package diagnose

import "tapwatch/agent/path"

var tapNoVnetHdr = Check{
	Code:      "tap-no-vnet-hdr",
	Title:     "The tap was opened without the header that the VMM's frames have",
	Hop:       path.Tap,
	Severity:  path.Critical,
	DependsOn: tapAddress.DependsOn,
	Run: func(f path.Facts) Result {
		d := f.Device
		// A Firecracker always puts struct virtio_net_hdr before a frame; others may not.
		if !isFirecracker(f) || d.Tun == nil || d.Tun.VnetHdr || d.Carrier != path.Yes || len(d.Holders) == 0 {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: d.Name + " is open without IFF_VNET_HDR: Firecracker puts a header before each frame, which the kernel takes for the frame itself",
			Evidence: []string{"IFLA_TUN_VNET_HDR of " + d.Name + " in " + where(f) + " is 0; Firecracker sets it when it opens a tap",
				"the tap is open" + heldBy(d.Holders)},
			Fix: "see whether it is Firecracker at all that has the tap open; a wrapper that opens the tap for it must set IFF_VNET_HDR",
		})
	},
}
