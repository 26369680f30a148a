package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// body writes a link message: struct ifinfomsg and attributes.
func body(family byte, index, flags uint32, attrs ...[]byte) []byte {
	b := []byte{family, 0, 0, 0}
	b = binary.NativeEndian.AppendUint32(b, index)
	b = binary.NativeEndian.AppendUint32(b, flags)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, bytes.Join(attrs, nil)...)
}

func attr(typ uint16, v ...byte) []byte       { return nlsafe.AppendAttr(nil, typ, v) }
func number(typ uint16, v uint32) []byte      { return nlsafe.AppendUint32(nil, typ, v) }
func words(typ uint16, s string) []byte       { return nlsafe.AppendAttr(nil, typ, append([]byte(s), 0)) }
func nested(typ uint16, inner ...byte) []byte { return attr(typ|unix.NLA_F_NESTED, inner...) }

// tunInfo writes what the tun driver says of a device.
func tunInfo(mode, persist, multiQueue, vnetHdr byte) []byte {
	data := bytes.Join([][]byte{
		number(unix.IFLA_TUN_OWNER, 1000), attr(unix.IFLA_TUN_TYPE, mode), attr(unix.IFLA_TUN_PI, 0),
		attr(unix.IFLA_TUN_VNET_HDR, vnetHdr), attr(unix.IFLA_TUN_PERSIST, persist), attr(unix.IFLA_TUN_MULTI_QUEUE, multiQueue),
		number(unix.IFLA_TUN_NUM_QUEUES, 1),
	}, nil)
	return nested(unix.IFLA_LINKINFO, append(words(unix.IFLA_INFO_KIND, "tun"), nested(unix.IFLA_INFO_DATA, data...)...)...)
}

func TestParseLink(t *testing.T) {
	name, up, down := words(unix.IFLA_IFNAME, "tap0"), attr(unix.IFLA_CARRIER, 1), attr(unix.IFLA_CARRIER, 0)
	for what, c := range map[string]struct {
		body []byte
		want Link
		err  error
	}{
		"a tap with all that is read of it": {
			body: body(unix.AF_UNSPEC, 2, unix.IFF_UP|unix.IFF_BROADCAST, name, down,
				attr(unix.IFLA_OPERSTATE, 6), number(unix.IFLA_CARRIER_UP_COUNT, 3), number(unix.IFLA_CARRIER_DOWN_COUNT, 4),
				number(unix.IFLA_MTU, 1500), attr(unix.IFLA_ADDRESS, 2, 0xfc, 0, 0, 0, 6),
				number(unix.IFLA_MASTER, 7), tunInfo(unix.IFF_TAP, 1, 0, 1)),
			want: Link{
				Ifindex: 2, Name: "tap0", Kind: "tun", Tun: Tun{Mode: TunTap, Persistent: true, VnetHdr: true}, Master: 7, AdminUp: true, Carrier: Down, Operstate: 6, UpCount: 3, DownCount: 4,
				MTU: 1500, Addr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 6}, PeerNSID: netns.NoNSID,
			},
		},
		"a veth and its peer": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, number(unix.IFLA_LINK, 9), number(unix.IFLA_LINK_NETNSID, 5)),
			want: Link{Ifindex: 3, Name: "tap0", Carrier: Up, Peer: 9, PeerNSID: 5},
		},
		"a peer in a namespace without a number": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, number(unix.IFLA_LINK, 9), number(unix.IFLA_LINK_NETNSID, math.MaxUint32)),
			want: Link{Ifindex: 3, Name: "tap0", Carrier: Up, Peer: 9, PeerNSID: UnknownNSID},
		},
		"a tun device of a VPN, held several times": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, tunInfo(unix.IFF_TUN, 0, 1, 0)),
			want: Link{Ifindex: 3, Name: "tap0", Kind: "tun", Tun: Tun{Mode: TunIP, MultiQueue: true}, Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"a mode of another kernel": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, tunInfo(9, 0, 0, 0)),
			want: Link{Ifindex: 3, Name: "tap0", Kind: "tun", Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"a tun device without its data": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, nested(unix.IFLA_LINKINFO, words(unix.IFLA_INFO_KIND, "tun")...)),
			want: Link{Ifindex: 3, Name: "tap0", Kind: "tun", Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"data before the kind": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, nested(unix.IFLA_LINKINFO, append(
				nested(unix.IFLA_INFO_DATA, attr(unix.IFLA_TUN_TYPE, unix.IFF_TAP)...), words(unix.IFLA_INFO_KIND, "tun")...)...)),
			want: Link{Ifindex: 3, Name: "tap0", Kind: "tun", Tun: Tun{Mode: TunTap}, Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"another kind's data": { // IFLA_MACVLAN_MACADDR_MODE has the number of IFLA_TUN_TYPE
			body: body(unix.AF_UNSPEC, 3, 0, name, up, nested(unix.IFLA_LINKINFO, append(
				words(unix.IFLA_INFO_KIND, "macvtap"), nested(unix.IFLA_INFO_DATA, attr(unix.IFLA_TUN_TYPE)...)...)...)),
			want: Link{Ifindex: 3, Name: "tap0", Kind: "macvtap", Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"attributes of another kernel": {
			body: body(unix.AF_UNSPEC, 3, 0, attr(0x3fff, 1, 2, 3), name, up),
			want: Link{Ifindex: 3, Name: "tap0", Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"a bridge's view of its port": {body: body(unix.AF_BRIDGE, 2, 0, name, up), err: errPartial},
		"a wireless event":            {body: body(unix.AF_UNSPEC, 2, 0, name), err: errPartial},
		"no name":                     {body: body(unix.AF_UNSPEC, 2, 0, up), err: errPartial},
		"a short header":              {body: make([]byte, 8), err: nlsafe.ErrMalformed},
		"no interface":                {body: body(unix.AF_UNSPEC, 0, 0, name, up), err: nlsafe.ErrMalformed},
		"a negative number":           {body: body(unix.AF_UNSPEC, 1<<31, 0, name, up), err: nlsafe.ErrMalformed},
		"a count of two bytes":        {body: body(unix.AF_UNSPEC, 2, 0, name, up, attr(unix.IFLA_CARRIER_UP_COUNT, 1, 0)), err: nlsafe.ErrMalformed},
		"an empty carrier":            {body: body(unix.AF_UNSPEC, 2, 0, name, attr(unix.IFLA_CARRIER)), err: nlsafe.ErrMalformed},
		"an empty operstate":          {body: body(unix.AF_UNSPEC, 2, 0, name, up, attr(unix.IFLA_OPERSTATE)), err: nlsafe.ErrMalformed},
		"a kind that is cut":          {body: body(unix.AF_UNSPEC, 2, 0, name, up, nested(unix.IFLA_LINKINFO, 9, 0, 1)), err: nlsafe.ErrMalformed},
		"a mode that is empty": {body: body(unix.AF_UNSPEC, 2, 0, name, up, nested(unix.IFLA_LINKINFO, append(
			words(unix.IFLA_INFO_KIND, "tun"), nested(unix.IFLA_INFO_DATA, attr(unix.IFLA_TUN_TYPE)...)...)...)), err: nlsafe.ErrMalformed},
		"an attribute that is cut":     {body: body(unix.AF_UNSPEC, 2, 0, name, up)[:24], err: nlsafe.ErrMalformed},
		"trailing bytes after the end": {body: append(body(unix.AF_UNSPEC, 2, 0, name, up), 0, 0), err: nlsafe.ErrMalformed},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := parseLink(c.body)
			if !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add(body(unix.AF_UNSPEC, 2, 1, words(unix.IFLA_IFNAME, "tap0"), attr(unix.IFLA_CARRIER, 0),
		tunInfo(unix.IFF_TAP, 1, 0, 1), number(unix.IFLA_MASTER, 7), number(unix.IFLA_CARRIER_UP_COUNT, 3)))
	f.Add(body(unix.AF_BRIDGE, 2, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		given := string(b)
		l, err := parseLink(b)
		if string(b) != given {
			t.Fatal("the message was written to")
		}
		if err == nil && (l.Ifindex == 0 || l.Ifindex > 1<<31-1 || l.Name == "" || l.Carrier == Unknown) {
			t.Fatalf("taken for a link: %+v", l)
		}
		if l.Tun != (Tun{}) && l.Kind != "tun" {
			t.Fatalf("a %q taken for a tun device: %+v", l.Kind, l.Tun)
		}
		_, _ = netns.ParseNSID(b)
		if n, err := parseBytes(b); err != nil && n != (Bytes{}) {
			t.Fatalf("counts %+v of what cannot be read: %v", n, err)
		}
	})
}

func TestParseBytes(t *testing.T) {
	stats := make([]byte, 40)
	for i := range 5 {
		binary.NativeEndian.PutUint64(stats[8*i:], uint64(i))
	}
	whole := nlsafe.AppendAttr(body(unix.AF_UNSPEC, 2, 1), unix.IFLA_STATS64, stats)
	if got, err := parseBytes(whole); err != nil || got != (Bytes{Receive: 2, Transmit: 3}) {
		t.Errorf("%+v, %v", got, err)
	}
	for what, b := range map[string][]byte{
		"no header": {1, 2, 3},
		"short":     nlsafe.AppendAttr(body(unix.AF_UNSPEC, 2, 1), unix.IFLA_STATS64, stats[:31]),
		"none":      body(unix.AF_UNSPEC, 2, 1),
	} {
		if got, err := parseBytes(b); !errors.Is(err, nlsafe.ErrMalformed) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
}

func TestWordsAreKeptOnce(t *testing.T) {
	for _, word := range []string{"tun", "veth", "bridge", "macvtap", "ifb", "lo", "tap0", "eth0"} {
		v := append([]byte(word), 0)
		if n := testing.AllocsPerRun(10, func() { _ = text(v) }); n != 0 || text(v) != word {
			t.Errorf("%q is read as %q with %v allocations", word, text(v), n)
		}
	}
	if got := text([]byte("tap1\x00rest")); got != "tap1" {
		t.Errorf("read %q", got)
	}
}
