package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/e2b"
)

// hostNets is the networks that the host itself is in, by its addresses.
type hostNets []hostNet

type hostNet struct {
	device string
	prefix netip.Prefix // with the host's own address
}

// hostNetworks lists them, those of slots apart, whoever made these.
func hostNetworks() (hostNets, error) {
	links, err := whole(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	var nets hostNets
	for _, a := range addrs {
		addr, ok := netip.AddrFromSlice(a.IP.To4())
		bits, _ := a.Mask.Size()
		device := names[a.LinkIndex]
		if slot, isSlot := indexOfVeth(device); ok && (!isSlot || Slot{slot}.VethIP() != addr) {
			nets = append(nets, hostNet{device, netip.PrefixFrom(addr, bits)})
		}
	}
	return nets, nil
}

// whole asks again while what is listed changes meanwhile.
func whole[T any](list func() ([]T, error)) (all []T, err error) {
	for range 20 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

func indexOfVeth(name string) (i int, ok bool) {
	_, err := fmt.Sscanf(name, "veth-%d", &i)
	return i, err == nil && e2b.HostVeth(i) == name
}

// taken says which network of the host a slot's addresses would be in; empty: none. Of
// one that is wider than all slots together only the host's own address counts: the
// slots' routes are more exact.
func (h hostNets) taken(s Slot) string {
	for _, n := range h {
		for _, a := range []netip.Addr{s.HostIP(), s.VethIP(), s.VpeerIP()} {
			if a == n.prefix.Addr() || n.prefix.Bits() >= 16 && n.prefix.Contains(a) {
				return fmt.Sprintf("%s on %s", n.prefix, n.device)
			}
		}
	}
	return ""
}

// leave fails where the host's networks leave no slot from the first on.
func (h hostNets) leave(first int) error {
	var by string
	for i := first; i <= e2b.MaxIndex; i++ {
		if by = h.taken(Slot{i}); by == "" {
			return nil
		}
	}
	return fmt.Errorf("no slot from %d on is free: slots have addresses of 10.11.0.0/16 and 10.12.0.0/16, and the host's own network %s is among them", first, by)
}
