package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nlsafe"
)

// from include/uapi/linux/if_link.h
const (
	iflaTunOwner      = 1
	iflaTunGroup      = 2
	iflaTunVnetHdr    = 5
	iflaTunMultiQueue = 7
)

// tun returns what only taps have. The kernel takes RTNL for it: some 5 us.
func (a *asker) tun(name string) (*path.Tun, error) {
	body := make([]byte, unix.SizeofIfInfomsg, 64)
	body = nlsafe.AppendAttr(body, unix.IFLA_IFNAME, append([]byte(name), 0))
	answer, err := a.conn.Get(unix.RTM_GETLINK, body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return parseTun(answer)
}

// port is what a link's place among others is.
type port struct {
	l3    string // which device has its addresses: the bridge that it is a port of, else itself
	qdisc string // the kind of its root queueing discipline
	// otherHost is the packets that came in by it for other hardware addresses and were
	// dropped; nil: the kernel does not count them.
	otherHost *path.Counted
}

// port asks where a link stands.
func (a *asker) port(name string) (p port, err error) {
	body := make([]byte, unix.SizeofIfInfomsg, 64)
	body = nlsafe.AppendAttr(body, unix.IFLA_IFNAME, append([]byte(name), 0))
	answer, err := a.conn.Get(unix.RTM_GETLINK, body)
	if err != nil {
		return p, fmt.Errorf("read %s: %w", name, err)
	}
	p, bridge, err := parsePort(answer)
	if err != nil {
		return p, err
	}
	if p.l3 = name; bridge != 0 {
		p.l3 = a.name(bridge)
	}
	return p, nil
}

// otherHostAt is where rx_otherhost_dropped lies in struct rtnl_link_stats64.
const otherHostAt = 24 * 8

// parsePort reads RTM_NEWLINK, and returns the number of the bridge that the link is a
// port of; 0: of none.
func parsePort(body []byte) (p port, bridge uint32, err error) {
	if len(body) < unix.SizeofIfInfomsg {
		return p, 0, fmt.Errorf("%w: %d bytes of link header", nlsafe.ErrMalformed, len(body))
	}
	var master uint32
	bridged := false
	err = nlsafe.EachAttr(body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) (err error) {
		switch typ {
		case unix.IFLA_QDISC:
			p.qdisc = unix.ByteSliceToString(v)
		case unix.IFLA_STATS64:
			if len(v) >= otherHostAt+8 {
				p.otherHost = &path.Counted{Count: binary.NativeEndian.Uint64(v[otherHostAt:])}
			}
		case unix.IFLA_MASTER:
			master, err = nlsafe.Uint32(v)
		case unix.IFLA_LINKINFO:
			err = nlsafe.EachAttr(v, func(typ uint16, v []byte) error {
				bridged = bridged || typ == unix.IFLA_INFO_SLAVE_KIND && unix.ByteSliceToString(v) == "bridge"
				return nil
			})
		}
		return err
	})
	if !bridged {
		master = 0
	}
	return p, master, err
}

// parseTun reads IFLA_INFO_DATA of RTM_NEWLINK; nil where the link is no tap.
func parseTun(body []byte) (t *path.Tun, err error) {
	if len(body) < unix.SizeofIfInfomsg {
		return nil, fmt.Errorf("%w: %d bytes of link header", nlsafe.ErrMalformed, len(body))
	}
	var kind, data []byte
	err = nlsafe.EachAttr(body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) error {
		if typ != unix.IFLA_LINKINFO {
			return nil
		}
		return nlsafe.EachAttr(v, func(typ uint16, v []byte) error {
			switch typ {
			case unix.IFLA_INFO_KIND:
				kind = v
			case unix.IFLA_INFO_DATA:
				data = v
			}
			return nil
		})
	})
	if err != nil || unix.ByteSliceToString(kind) != "tun" || data == nil {
		return nil, err
	}
	t = &path.Tun{}
	err = nlsafe.EachAttr(data, func(typ uint16, v []byte) error {
		switch typ {
		case iflaTunOwner, iflaTunGroup:
			id, err := nlsafe.Uint32(v)
			if err != nil {
				return err
			}
			if typ == iflaTunOwner {
				t.Owner = &id
			} else {
				t.Group = &id
			}
		case iflaTunVnetHdr:
			t.VnetHdr = len(v) > 0 && v[0] != 0
		case iflaTunMultiQueue:
			t.MultiQueue = len(v) > 0 && v[0] != 0
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// from include/uapi/linux/neighbour.h, in the words of ip neigh
var neighbourStates = map[uint16]string{
	unix.NUD_INCOMPLETE: "INCOMPLETE", unix.NUD_REACHABLE: "REACHABLE", unix.NUD_STALE: "STALE", unix.NUD_DELAY: "DELAY",
	unix.NUD_PROBE: "PROBE", unix.NUD_FAILED: "FAILED", unix.NUD_NOARP: "NOARP", unix.NUD_PERMANENT: "PERMANENT",
}

// neighbour returns what the kernel knows of an address on a link.
func (a *asker) neighbour(link string, of netip.Addr) (*path.Neighbour, error) {
	i, err := a.index(link)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", link, err)
	}
	body := make([]byte, unix.SizeofNdMsg, 32)
	body[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(body[4:], i)
	body = nlsafe.AppendAttr(body, unix.NDA_DST, of.AsSlice())
	answer, err := a.conn.Get(unix.RTM_GETNEIGH, body)
	if errors.Is(err, unix.ENOENT) {
		return &path.Neighbour{Addr: of.String(), State: "none"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the neighbour %s on %s: %w", of, link, err)
	}
	n, err := parseNeighbour(answer)
	if err != nil {
		return nil, err
	}
	n.Addr = of.String()
	return n, nil
}

// parseNeighbour reads RTM_NEWNEIGH.
func parseNeighbour(body []byte) (*path.Neighbour, error) {
	if len(body) < unix.SizeofNdMsg {
		return nil, fmt.Errorf("%w: %d bytes of neighbour", nlsafe.ErrMalformed, len(body))
	}
	state := binary.NativeEndian.Uint16(body[8:])
	n := &path.Neighbour{State: neighbourStates[state]}
	if n.State == "" {
		n.State = fmt.Sprintf("%#x", state)
	}
	err := nlsafe.EachAttr(body[unix.SizeofNdMsg:], func(typ uint16, v []byte) error {
		if typ == unix.NDA_LLADDR && len(v) == 6 {
			n.MAC = net.HardwareAddr(v).String()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}
