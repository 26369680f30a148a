package link

import (
	"bytes"
	"encoding/binary"
	"errors"
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
				nested(unix.IFLA_LINKINFO, words(unix.IFLA_INFO_KIND, "tun")...)),
			want: Link{
				Ifindex: 2, Name: "tap0", Kind: "tun", AdminUp: true, Carrier: Down, Operstate: 6, UpCount: 3, DownCount: 4,
				MTU: 1500, Addr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 6}, PeerNSID: netns.NoNSID,
			},
		},
		"a veth and its peer": {
			body: body(unix.AF_UNSPEC, 3, 0, name, up, number(unix.IFLA_LINK, 9), number(unix.IFLA_LINK_NETNSID, 5)),
			want: Link{Ifindex: 3, Name: "tap0", Carrier: Up, Peer: 9, PeerNSID: 5},
		},
		"attributes of another kernel": {
			body: body(unix.AF_UNSPEC, 3, 0, attr(0x3fff, 1, 2, 3), name, up),
			want: Link{Ifindex: 3, Name: "tap0", Carrier: Up, PeerNSID: netns.NoNSID},
		},
		"a bridge's view of its port":  {body: body(unix.AF_BRIDGE, 2, 0, name, up), err: errPartial},
		"a wireless event":             {body: body(unix.AF_UNSPEC, 2, 0, name), err: errPartial},
		"no name":                      {body: body(unix.AF_UNSPEC, 2, 0, up), err: errPartial},
		"a short header":               {body: make([]byte, 8), err: nlsafe.ErrMalformed},
		"no interface":                 {body: body(unix.AF_UNSPEC, 0, 0, name, up), err: nlsafe.ErrMalformed},
		"a negative number":            {body: body(unix.AF_UNSPEC, 1<<31, 0, name, up), err: nlsafe.ErrMalformed},
		"a count of two bytes":         {body: body(unix.AF_UNSPEC, 2, 0, name, up, attr(unix.IFLA_CARRIER_UP_COUNT, 1, 0)), err: nlsafe.ErrMalformed},
		"an empty carrier":             {body: body(unix.AF_UNSPEC, 2, 0, name, attr(unix.IFLA_CARRIER)), err: nlsafe.ErrMalformed},
		"an empty operstate":           {body: body(unix.AF_UNSPEC, 2, 0, name, up, attr(unix.IFLA_OPERSTATE)), err: nlsafe.ErrMalformed},
		"a kind that is cut":           {body: body(unix.AF_UNSPEC, 2, 0, name, up, nested(unix.IFLA_LINKINFO, 9, 0, 1)), err: nlsafe.ErrMalformed},
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
		nested(unix.IFLA_LINKINFO, words(unix.IFLA_INFO_KIND, "tun")...), number(unix.IFLA_CARRIER_UP_COUNT, 3)))
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
