package topology

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// neighbour is one entry of a device's table of neighbours, or of a bridge's table of
// ports (AF_BRIDGE), which has no address.
type neighbour struct {
	ifindex netns.Ifindex
	state   uint16
	mac     [6]byte
	addr    netip.Addr
}

// trust orders states of a neighbour by what they say of it; 0: nothing.
func (n neighbour) trust() int {
	switch n.state {
	case unix.NUD_REACHABLE:
		return 4
	case unix.NUD_DELAY, unix.NUD_PROBE:
		return 3
	case unix.NUD_STALE:
		return 2
	case unix.NUD_PERMANENT: // somebody's word, not the guest's
		return 1
	}
	return 0
}

// findNeighbour returns the address of the guest that the kernel has seen behind the
// tap. Behind a bridge it is the neighbour whose MAC the bridge learned at the tap's
// port. Two that are known alike are none: which of them is the guest is not known.
func (r *reader) findNeighbour(tap link) (netip.Addr, error) {
	known, err := r.in.neighbours(unix.AF_INET, r.l3)
	if err != nil || len(known) == 0 {
		return netip.Addr{}, err
	}
	at := func([6]byte) bool { return true }
	if r.l3 != tap.index {
		ports, err := r.in.neighbours(unix.AF_BRIDGE, tap.index)
		if err != nil {
			return netip.Addr{}, err
		}
		at = func(mac [6]byte) bool {
			for _, p := range ports {
				if p.mac == mac && p.state&unix.NUD_PERMANENT == 0 { // else the port's own
					return true
				}
			}
			return false
		}
	}
	var best neighbour
	twice := false
	for _, n := range known {
		if !n.addr.IsValid() || n.addr.IsMulticast() || n.trust() == 0 || !at(n.mac) {
			continue
		}
		switch {
		case n.trust() > best.trust():
			best, twice = n, false
		case n.trust() == best.trust():
			twice = true
		}
	}
	if twice {
		return netip.Addr{}, nil
	}
	return best.addr, nil
}

// neighbours reads those of one device.
func (a asker) neighbours(family byte, index netns.Ifindex) ([]neighbour, error) {
	body := make([]byte, unix.SizeofNdMsg, 32)
	body[0] = family
	ms, err := a.conn.Dump(unix.RTM_GETNEIGH, nlsafe.AppendUint32(body, unix.NDA_IFINDEX, uint32(index)))
	if err != nil {
		return nil, fmt.Errorf("read neighbours: %w", err)
	}
	var list []neighbour
	for _, m := range ms {
		n, err := parseNeighbour(m.Body)
		if err != nil {
			return nil, err
		}
		if n.ifindex == index {
			list = append(list, n)
		}
	}
	return list, nil
}

// parseNeighbour reads RTM_NEWNEIGH.
func parseNeighbour(body []byte) (n neighbour, err error) {
	if len(body) < unix.SizeofNdMsg {
		return n, fmt.Errorf("%w: %d bytes of neighbour", nlsafe.ErrMalformed, len(body))
	}
	n.ifindex, n.state = netns.Ifindex(binary.NativeEndian.Uint32(body[4:])), binary.NativeEndian.Uint16(body[8:])
	err = nlsafe.EachAttr(body[unix.SizeofNdMsg:], func(typ uint16, v []byte) error {
		switch {
		case typ == unix.NDA_LLADDR && len(v) == 6:
			n.mac = [6]byte(v)
		case typ == unix.NDA_DST && len(v) == 4:
			n.addr = netip.AddrFrom4([4]byte(v))
		}
		return nil
	})
	return n, err
}
