package topology

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// asker asks the namespace that its socket was made in.
type asker struct{ conn *nlsafe.Conn }

// link is what is read of a device.
type link struct {
	index     netns.Ifindex
	name      string
	kind      string // IFLA_INFO_KIND
	slaveKind string // IFLA_INFO_SLAVE_KIND: of what it is a port
	master    netns.Ifindex
	peer      netns.Ifindex // IFLA_LINK: the other end of a veth pair
	elsewhere bool          // the other end is in another namespace
	peerNSID  netns.NSID    // number of the other end's namespace in this one
}

// isBridge says whether ports of that kind pass frames to each other.
func isBridge(slaveKind string) bool { return slaveKind == "bridge" || slaveKind == "openvswitch" }

// skipStats is RTEXT_FILTER_SKIP_STATS of include/uapi/linux/rtnetlink.h.
const skipStats = 1 << 3

// link reads one device; ENODEV where there is none.
func (a asker) link(index netns.Ifindex) (link, error) {
	body := make([]byte, unix.SizeofIfInfomsg, 32)
	binary.NativeEndian.PutUint32(body[4:], uint32(index))
	answer, err := a.conn.Get(unix.RTM_GETLINK, nlsafe.AppendUint32(body, unix.IFLA_EXT_MASK, skipStats))
	if err != nil {
		return link{}, fmt.Errorf("read device %d: %w", index, err)
	}
	return parseLink(answer)
}

// links reads all devices.
func (a asker) links() ([]link, error) {
	body := nlsafe.AppendUint32(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_EXT_MASK, skipStats)
	ms, err := a.conn.Dump(unix.RTM_GETLINK, body)
	if err != nil {
		return nil, fmt.Errorf("read devices: %w", err)
	}
	list := make([]link, 0, len(ms))
	for _, m := range ms {
		l, err := parseLink(m.Body)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

// parseLink reads RTM_NEWLINK.
func parseLink(body []byte) (l link, err error) {
	if len(body) < unix.SizeofIfInfomsg {
		return l, fmt.Errorf("%w: %d bytes of link header", nlsafe.ErrMalformed, len(body))
	}
	l.index = netns.Ifindex(binary.NativeEndian.Uint32(body[4:]))
	err = nlsafe.EachAttr(body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) (err error) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.name = unix.ByteSliceToString(v)
		case unix.IFLA_MASTER:
			l.master, err = parseIndex(v)
		case unix.IFLA_LINK:
			l.peer, err = parseIndex(v)
		case unix.IFLA_LINK_NETNSID:
			var id uint32
			id, err = nlsafe.Uint32(v)
			l.elsewhere, l.peerNSID = true, netns.NSID(int32(id))
		case unix.IFLA_LINKINFO:
			err = l.parseInfo(v)
		}
		return err
	})
	return l, err
}

func parseIndex(v []byte) (netns.Ifindex, error) {
	n, err := nlsafe.Uint32(v)
	return netns.Ifindex(n), err
}

func (l *link) parseInfo(b []byte) error {
	return nlsafe.EachAttr(b, func(typ uint16, v []byte) error {
		switch typ {
		case unix.IFLA_INFO_KIND:
			l.kind = unix.ByteSliceToString(v)
		case unix.IFLA_INFO_SLAVE_KIND:
			l.slaveKind = unix.ByteSliceToString(v)
		}
		return nil
	})
}

// addresses returns a device's IPv4 addresses with their prefixes, never nil.
func (a asker) addresses(index netns.Ifindex) ([]netip.Prefix, error) {
	list, err := a.conn.Addresses(uint32(index))
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	return list, nil
}

// route is where a packet of the namespace's own would go.
type route struct {
	oif    netns.Ifindex
	local  bool // to the namespace itself
	source netip.Addr
}

// noRoute is what the kernel answers where there is no way; EINVAL is that of a
// blackhole, from fib_props of net/ipv4/fib_semantics.c.
var noRoute = []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL}

// route asks for the way to an address; ok is false where there is none.
func (a asker) route(to netip.Addr) (r route, ok bool, err error) {
	body := make([]byte, unix.SizeofRtMsg, 32)
	body[0], body[1] = unix.AF_INET, 32
	answer, err := a.conn.Get(unix.RTM_GETROUTE, nlsafe.AppendAttr(body, unix.RTA_DST, to.AsSlice()))
	for _, e := range noRoute {
		if errors.Is(err, e) {
			return r, false, nil
		}
	}
	if err != nil {
		return r, false, fmt.Errorf("ask for the route to %s: %w", to, err)
	}
	found, err := nlsafe.ParseRoute(answer)
	return route{netns.Ifindex(found.Device), found.Local, found.Source}, err == nil, err
}
