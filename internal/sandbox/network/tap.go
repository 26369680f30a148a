package network

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// makeTap makes a persistent tap in the calling thread's namespace: the device
// belongs to the namespace in which /dev/net/tun was opened. Nobody holds it
// afterwards, so it has no carrier. A VMM may attach with other flags than
// these, but with IFF_MULTI_QUEUE only if it was made so: this one was not.
func makeTap(name string) error {
	// A process that is forked meanwhile would hold the tap until it runs its own
	// program, and the VMM would find it busy.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("name tap %s: %w", name, err)
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("make tap %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
		return fmt.Errorf("make tap %s persistent: %w", name, err)
	}
	return nil
}
