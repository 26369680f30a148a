package inspect

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// AskNeighbour has the kernel ask by ARP whether the guest behind a tap is still
// there, which it else does only some ten seconds after TCP has gone quiet. What
// comes of it the hooks count. A neighbour that the kernel does not know is not
// asked: whoever sends to it asks anyway.
func AskNeighbour(ns, tap string, guest netip.Addr) error {
	err := netns.Do(ns, func() error {
		link, err := netlink.LinkByName(tap)
		if err != nil {
			return err
		}
		known, err := netlink.NeighList(link.Attrs().Index, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, n := range known {
			if n.IP.Equal(net.IP(guest.AsSlice())) && n.State&(unix.NUD_REACHABLE|unix.NUD_STALE|unix.NUD_DELAY) != 0 {
				n.State = unix.NUD_PROBE
				return netlink.NeighSet(&n)
			}
		}
		return nil
	})
	var gone netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &gone) {
		return fmt.Errorf("ask for %s on %s: %w", guest, tap, err)
	}
	return nil
}
