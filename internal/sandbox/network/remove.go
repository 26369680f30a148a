package network

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Remove takes the slot away from any state, half-made or whole; one that does
// not exist is no error. The links are deleted by name before the namespace,
// which goes last: whoever still holds the namespace holds an empty one, and
// the names are free again when Remove returns.
func Remove(s Slot) error {
	if err := s.validate(); err != nil {
		return err
	}
	var links errgroup.Group // each deletion waits 30 ms for the kernel's readers: both at once
	links.Go(func() error { return removeTap(s) })
	links.Go(func() error { return removeLink(s.HostVeth()) })
	err := links.Wait()
	if err == nil {
		err = netns.Delete(s.Netns())
	}
	if err != nil {
		return fmt.Errorf("remove slot %d: %w", s.Index, err)
	}
	return nil
}

// Exists says whether anything bears a name of the slot.
func Exists(s Slot) bool { return free(s) != nil }

// removeTap deletes the tap inside the namespace: a VMM that outlives the slot
// then holds a dead file and not a tap.
func removeTap(s Slot) error {
	err := netns.Do(s.Netns(), func() error { return removeLink(s.Tap()) })
	if errors.Is(err, netns.ErrNotExist) { // gone, or a file that was never bound
		return nil
	}
	return err
}

// removeLink deletes a link of the calling thread's namespace. The veth's peer
// and the host's address and route go with it.
func removeLink(name string) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := h.LinkDel(link); err != nil && !isGone(err) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

func isGone(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, unix.ENODEV) || errors.Is(err, os.ErrNotExist)
}
