package netns

// Ifindex numbers a device within its namespace, from 1. The tap0 of every slot may
// have the same one: it means nothing without the namespace.
type Ifindex uint32

// Device names a device for its life: the namespace by its cookie, the device by
// its index there. The kernel does not give an index to another device before it
// has counted through all of them.
type Device struct {
	Netns   Cookie
	Ifindex Ifindex
}
