package nettest

import (
	"net"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Guest puts a guest without a VM behind a slot's tap: a namespace of its own
// whose eth0 has the guest's address and MAC, with every frame carried between
// that and the tap. It returns the namespace, for In to listen in, and goes with
// the test.
func Guest(t testing.TB, slot, tap, mac string, addr, gateway net.IP) (ns string) {
	t.Helper()
	ns, inside, outside := GuestTaps(t, slot, tap, mac, addr, gateway)
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); Carry(int(inside.Fd()), int(outside.Fd()), stop) }()
	t.Cleanup(func() { // before the taps' own, which close them
		_, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-done
		unix.Close(stop)
	})
	return ns
}

// GuestTaps is Guest with nobody who carries the frames yet: it returns both
// taps, the guest's eth0 and the slot's, for Carry.
func GuestTaps(t testing.TB, slot, tap, mac string, addr, gateway net.IP) (ns string, inside, outside *os.File) {
	t.Helper()
	ns = Netns(t)
	inside, outside = AttachTap(t, ns, "eth0"), AttachTap(t, slot, tap)
	In(t, ns, func() error {
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetHardwareAddr(eth0, hw); err != nil {
			return err
		}
		if err := netlink.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: addr, Mask: net.CIDRMask(30, 32)}}); err != nil {
			return err
		}
		for _, name := range []string{"lo", "eth0"} {
			l, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway})
	})
	return ns, inside, outside
}

// Carry carries frames between two taps, which do not block, until stop is
// readable; a stop below 0 never is.
func Carry(a, b, stop int) {
	buf := make([]byte, 128<<10)
	fds := []unix.PollFd{{Fd: int32(a), Events: unix.POLLIN}, {Fd: int32(b), Events: unix.POLLIN}, {Fd: int32(stop), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			panic(os.NewSyscallError("poll", err))
		}
		if fds[2].Revents != 0 {
			return
		}
		for i, to := range []int{b, a} {
			for fds[i].Revents != 0 {
				n, err := unix.Read(int(fds[i].Fd), buf)
				if err != nil {
					break
				}
				_, _ = unix.Write(to, buf[:n]) // a frame that does not go is lost, as on a wire
			}
		}
	}
}
