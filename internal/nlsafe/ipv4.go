package nlsafe

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Route is where the kernel would send a packet.
type Route struct {
	Device uint32     // ifindex of the device that it leaves by
	Local  bool       // to the namespace itself
	Source netip.Addr // IPv4; not valid: the kernel names none
}

// ParseRoute reads RTM_NEWROUTE as it answers RTM_GETROUTE.
func ParseRoute(body []byte) (r Route, err error) {
	if len(body) < unix.SizeofRtMsg {
		return r, fmt.Errorf("%w: %d bytes of route", ErrMalformed, len(body))
	}
	r.Local = body[7] == unix.RTN_LOCAL
	err = EachAttr(body[unix.SizeofRtMsg:], func(typ uint16, v []byte) (err error) {
		switch typ {
		case unix.RTA_OIF:
			r.Device, err = Uint32(v)
		case unix.RTA_PREFSRC:
			if len(v) == 4 {
				r.Source = netip.AddrFrom4([4]byte(v))
			}
		}
		return err
	})
	return r, err
}

// Addresses returns a device's IPv4 addresses with the lengths of their prefixes. The
// list of a device without addresses is empty and not nil.
func (c *Conn) Addresses(index uint32) ([]netip.Prefix, error) {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(body[4:], index)
	ms, err := c.Dump(unix.RTM_GETADDR, body)
	if err != nil {
		return nil, err
	}
	list := []netip.Prefix{}
	for _, m := range ms {
		p, err := ParseAddress(m.Body, index)
		if err != nil {
			return nil, err
		}
		if p.IsValid() {
			list = append(list, p)
		}
	}
	return list, nil
}

// ParseAddress reads RTM_NEWADDR; the prefix is not valid where the address is another
// device's. Of a point-to-point address the prefix is the other end's: it is not read.
func ParseAddress(body []byte, index uint32) (p netip.Prefix, err error) {
	if len(body) < unix.SizeofIfAddrmsg {
		return p, fmt.Errorf("%w: %d bytes of address", ErrMalformed, len(body))
	}
	if binary.NativeEndian.Uint32(body[4:]) != index {
		return p, nil
	}
	err = EachAttr(body[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) error {
		if typ == unix.IFA_LOCAL && len(v) == 4 {
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte(v)), int(body[1]))
		}
		return nil
	})
	return p, err
}
