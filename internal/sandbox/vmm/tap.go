package vmm

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
)

// ErrNoTap is returned where the namespace has no tap of the name that the VMM is
// to attach to.
var ErrNoTap = errors.New("no such tap")

// CheckTap returns ErrNoTap where the tap is not in the namespace at netnsPath. A
// VMM that finds none makes one of its own, silently, and the sandbox is then on
// a device that nothing leads to.
func CheckTap(netnsPath, tap string) error {
	return netns.Do(netnsPath, func() error {
		link, err := netlink.LinkByName(tap)
		if err != nil {
			return fmt.Errorf("%w: %s in %s: %w", ErrNoTap, tap, netnsPath, err)
		}
		if t, ok := link.(*netlink.Tuntap); !ok || t.Mode != netlink.TUNTAP_MODE_TAP {
			return fmt.Errorf("%w: %s in %s is a %s", ErrNoTap, tap, netnsPath, link.Type())
		}
		return nil
	})
}
