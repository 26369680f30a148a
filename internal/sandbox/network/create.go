package network

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
)

// ErrInUse is wrapped where the namespace or the veth of a slot exists already.
var ErrInUse = errors.New("in use")

// Create makes the slot, all of it or nothing. Where its namespace or veth
// exists the error wraps ErrInUse, and what exists is not touched.
func Create(s Slot) error {
	if err := s.validate(); err != nil {
		return err
	}
	if err := Check(); err != nil {
		return err
	}
	if err := free(s); err != nil {
		return err
	}
	if err := makeNamespace(s); err != nil {
		return err // not made by us: nothing to undo
	}
	for _, step := range hostSteps {
		if err := step(s); err != nil {
			return errors.Join(fmt.Errorf("create slot %d: %w", s.Index, err), Remove(s))
		}
	}
	return nil
}

// free returns ErrInUse where a name of the slot is taken.
func free(s Slot) error {
	if _, err := os.Lstat(netns.Path(s.Netns())); err == nil {
		return fmt.Errorf("slot %d is %w: namespace %s exists", s.Index, ErrInUse, s.Netns())
	}
	if _, err := netlink.LinkByName(s.HostVeth()); err == nil { // net.InterfaceByName dumps every link
		return fmt.Errorf("slot %d is %w: link %s exists", s.Index, ErrInUse, s.HostVeth())
	}
	return nil
}

func makeNamespace(s Slot) error {
	err := netns.Create(s.Netns())
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("slot %d is %w: namespace %s exists", s.Index, ErrInUse, s.Netns())
	}
	if err != nil {
		return fmt.Errorf("create slot %d: %w", s.Index, err)
	}
	return nil
}

// hostSteps follow makeNamespace, in order; all that is done inside the
// namespace is one visit.
var hostSteps = []func(Slot) error{makeVeth, furnish, addressHost}

func makeVeth(s Slot) error {
	ns, err := os.Open(netns.Path(s.Netns()))
	if err != nil {
		return fmt.Errorf("open namespace: %w", err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Group = s.HostVeth(), groupOf(os.Getpid())
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: e2b.Vpeer, PeerNamespace: netlink.NsFd(ns.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %s: %w", s.HostVeth(), err)
	}
	return nil
}

// addressHost gives the host's end its address and the route to the sandbox.
func addressHost(s Slot) error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	veth, err := raise(h, s.HostVeth(), ipNet(s.VethIP(), 31))
	if err != nil {
		return err
	}
	route := &netlink.Route{LinkIndex: veth, Dst: ipNet(s.HostIP(), 32), Gw: s.VpeerIP().AsSlice()}
	if err := h.RouteAdd(route); err != nil {
		return fmt.Errorf("route %s: %w", s.HostIP(), err)
	}
	return nil
}

// furnish does all that is to be done inside the namespace.
func furnish(s Slot) error {
	return netns.Do(s.Netns(), func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
		for _, step := range innerSteps {
			if err := step(h, s); err != nil {
				return err
			}
		}
		return nil
	})
}

var innerSteps = []func(*netlink.Handle, Slot) error{setSysctls, raiseLoopback, raiseVpeer, makeInnerTap, confineGuest, raiseTap}

// setSysctls lets packets through the namespace, which does not inherit a
// forwarding host for sure, and keeps the ports of envd and the code interpreter,
// which lie in the ephemeral range, from being taken as source ports.
func setSysctls(*netlink.Handle, Slot) error {
	for file, value := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward":              "1",
		"/proc/sys/net/ipv4/ip_local_reserved_ports": fmt.Sprintf("%d,%d", e2b.EnvdPort, e2b.CodeInterpreterPort),
	} {
		if err := os.WriteFile(file, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl: %w", err)
		}
	}
	return nil
}

func raiseLoopback(h *netlink.Handle, _ Slot) error {
	_, err := raise(h, "lo", nil)
	return err
}

func raiseVpeer(h *netlink.Handle, s Slot) error {
	vpeer, err := raise(h, e2b.Vpeer, ipNet(s.VpeerIP(), 31))
	if err != nil {
		return err
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: vpeer, Gw: s.VethIP().AsSlice()}); err != nil {
		return fmt.Errorf("route default: %w", err)
	}
	return nil
}

func makeInnerTap(_ *netlink.Handle, s Slot) error { return makeTap(s.Tap()) }

// confineGuest comes before the tap is up, so that no frame passes unseen.
func confineGuest(_ *netlink.Handle, s Slot) error { return confine(s) }

func raiseTap(h *netlink.Handle, s Slot) error {
	mac, err := net.ParseMAC(e2b.TapMAC)
	if err != nil {
		return fmt.Errorf("parse MAC of tap: %w", err)
	}
	tap, err := h.LinkByName(s.Tap())
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Tap(), err)
	}
	if err := h.LinkSetHardwareAddr(tap, mac); err != nil {
		return fmt.Errorf("set MAC of %s: %w", s.Tap(), err)
	}
	_, err = raise(h, s.Tap(), ipNet(s.TapIP(), 30))
	return err
}

// raise gives a link its address, if any, and sets it up.
func raise(h *netlink.Handle, name string, addr *net.IPNet) (ifindex int, err error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	if addr != nil {
		if err := h.AddrAdd(link, &netlink.Addr{IPNet: addr}); err != nil {
			return 0, fmt.Errorf("address %s: %w", name, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return 0, fmt.Errorf("set %s up: %w", name, err)
	}
	return link.Attrs().Index, nil
}
