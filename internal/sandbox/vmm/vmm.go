// Package vmm holds what the drivers of virtual machine monitors share: what to
// start, and a handle on the process that was started.
package vmm

// NIC is the guest's only network interface.
type NIC struct {
	Tap string // name of the tap inside the namespace, which the VMM opens itself
	MAC string // of the guest's end
}

// Spec says what to start and where. Nothing named here is written to, but for Console.
type Spec struct {
	SandboxID string
	Netns     string // path of the namespace that the VMM runs in
	Kernel    string // uncompressed or bzImage
	Initrd    string // empty: none
	Rootfs    string // ext4 image; the guest writes to an overlay that ends with it; empty: none
	Cmdline   string // appended to the driver's own kernel arguments, e.g. the guest's ip=
	VCPUs     int    // 0 means 1
	MemoryMiB int    // 0 means 256
	NIC       *NIC   // nil: the machine has none
	Console   string // file that the serial console is appended to
}
