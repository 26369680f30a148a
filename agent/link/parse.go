package link

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// errPartial is returned for link messages that are not the whole state of an
// interface: a bridge's view of its port, a wireless event.
var errPartial = errors.New("not a whole link message")

// parseLink reads the body of RTM_NEWLINK. NSID, Netns and Changed are the
// caller's to fill in.
func parseLink(body []byte) (Link, error) {
	l, err := parseHeader(body)
	if err != nil {
		return l, err
	}
	err = nlsafe.EachAttr(body[unix.SizeofIfInfomsg:], l.parseAttr)
	if err == nil && (l.Name == "" || l.Carrier == Unknown) {
		err = errPartial
	}
	return l, err
}

// parseHeader reads struct ifinfomsg, all that matters of RTM_DELLINK. A bridge
// sends that too when a port leaves it.
func parseHeader(body []byte) (Link, error) {
	l := Link{PeerNSID: netns.NoNSID}
	if len(body) < unix.SizeofIfInfomsg {
		return l, fmt.Errorf("%w: %d bytes of link header", nlsafe.ErrMalformed, len(body))
	}
	if body[0] != unix.AF_UNSPEC { // ifi_family
		return l, errPartial
	}
	index := int32(binary.NativeEndian.Uint32(body[4:]))
	if index <= 0 {
		return l, fmt.Errorf("%w: ifindex %d", nlsafe.ErrMalformed, index)
	}
	l.Ifindex = netns.Ifindex(index)
	flags := binary.NativeEndian.Uint32(body[8:])
	l.AdminUp, l.NoARP = flags&unix.IFF_UP != 0, flags&unix.IFF_NOARP != 0
	return l, nil
}

func (l *Link) parseAttr(typ uint16, v []byte) (err error) {
	switch typ {
	case unix.IFLA_IFNAME:
		l.Name = text(v)
	case unix.IFLA_ADDRESS:
		l.Addr = append(l.Addr[:0], v...)
	case unix.IFLA_MTU:
		l.MTU, err = nlsafe.Uint32(v)
	case unix.IFLA_MASTER:
		err = set(&l.Master, v)
	case unix.IFLA_LINK:
		err = set(&l.Peer, v)
	case unix.IFLA_LINK_NETNSID:
		if err = set(&l.PeerNSID, v); l.PeerNSID < 0 { // elsewhere, and without a number
			l.PeerNSID = UnknownNSID
		}
	case unix.IFLA_CARRIER:
		l.Carrier, err = parseCarrier(v)
	case unix.IFLA_OPERSTATE:
		if len(v) < 1 {
			return fmt.Errorf("%w: empty operstate", nlsafe.ErrMalformed)
		}
		l.Operstate = Operstate(v[0])
	case unix.IFLA_CARRIER_UP_COUNT:
		l.UpCount, err = nlsafe.Uint32(v)
	case unix.IFLA_CARRIER_DOWN_COUNT:
		l.DownCount, err = nlsafe.Uint32(v)
	case unix.IFLA_LINKINFO:
		err = l.parseInfo(v)
	}
	return err
}

// parseInfo reads IFLA_LINKINFO. What its data means depends on the kind.
func (l *Link) parseInfo(v []byte) error {
	var data []byte
	err := nlsafe.EachAttr(v, func(typ uint16, v []byte) error {
		switch typ {
		case unix.IFLA_INFO_KIND:
			l.Kind = text(v)
		case unix.IFLA_INFO_DATA:
			data = v
		}
		return nil
	})
	if err != nil || l.Kind != "tun" {
		return err
	}
	return nlsafe.EachAttr(data, l.Tun.parseAttr)
}

func parseCarrier(v []byte) (Carrier, error) {
	switch {
	case len(v) < 1:
		return Unknown, fmt.Errorf("%w: empty carrier", nlsafe.ErrMalformed)
	case v[0] == 0:
		return Down, nil
	}
	return Up, nil
}

// set reads a 32-bit number into a type of its own.
func set[T ~uint32 | ~int32](to *T, v []byte) error {
	n, err := nlsafe.Uint32(v)
	*to = T(n)
	return err
}
