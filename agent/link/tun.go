package link

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nlsafe"
)

// TunMode says what a device of the kernel's tun driver carries.
type TunMode uint8

// The modes. Unknown is that of every other kind of link too.
const (
	TunUnknown TunMode = iota
	TunIP              // IP packets: the tun device of a VPN
	TunTap             // Ethernet frames: the tap of a VM
)

func (m TunMode) String() string {
	switch m {
	case TunIP:
		return "tun"
	case TunTap:
		return "tap"
	}
	return "unknown"
}

// Tun is what the tun driver says of its own devices; it is zero for other
// kinds. The kernel sends no event where Persistent changes while the link is
// down: the value then is that of the last event or dump. The owner and the group
// are left out, for the kernel writes them as the process sees them that caused
// the event, so events and answers differ.
type Tun struct {
	Mode       TunMode
	Persistent bool // it stays when its holder goes
	MultiQueue bool // several processes may hold it, or one several times
	VnetHdr    bool // each frame begins with a struct virtio_net_hdr
}

// IsTap reports whether the link is a tap: a tun device in tap mode, or a
// macvtap. The holder of a macvtap has /dev/tapN open, where N is the ifindex. IsTap
// is false where the mode is not known.
func (l *Link) IsTap() bool {
	return l.Kind == "tun" && l.Tun.Mode == TunTap || l.Kind == "macvtap"
}

// parseAttr reads one attribute of IFLA_INFO_DATA.
// from tun_fill_info in drivers/net/tun.c
func (t *Tun) parseAttr(typ uint16, v []byte) error {
	if typ < unix.IFLA_TUN_TYPE || typ > unix.IFLA_TUN_MULTI_QUEUE {
		return nil
	}
	if len(v) < 1 {
		return fmt.Errorf("%w: empty attribute %d of a tun device", nlsafe.ErrMalformed, typ)
	}
	switch typ {
	case unix.IFLA_TUN_TYPE:
		switch v[0] {
		case unix.IFF_TUN:
			t.Mode = TunIP
		case unix.IFF_TAP:
			t.Mode = TunTap
		}
	case unix.IFLA_TUN_VNET_HDR:
		t.VnetHdr = v[0] != 0
	case unix.IFLA_TUN_PERSIST:
		t.Persistent = v[0] != 0
	case unix.IFLA_TUN_MULTI_QUEUE:
		t.MultiQueue = v[0] != 0
	}
	return nil
}
