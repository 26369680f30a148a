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
			Cause: d.Name + " was opened without the header that Firecracker puts before each frame (IFF_VNET_HDR): the kernel takes that header for the frame, and understands nothing that the guest sends",
			Evidence: []string{d.Name + " in " + where(f) + " has no vnet_hdr (" + ip(f) + " -d link show " + d.Name + "); Firecracker sets it when it opens a tap",
				"the tap is open" + heldBy(d.Holders)},
			Fix: "see whether it is Firecracker that opened the tap, or a wrapper that opened it for Firecracker: that must set IFF_VNET_HDR; mend it, then " + anew(f),
		})
	},
}
