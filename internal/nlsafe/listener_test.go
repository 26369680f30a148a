package nlsafe

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSourceOf(t *testing.T) {
	cmsg := func(level, typ int32, data ...byte) []byte {
		b := make([]byte, unix.CmsgSpace(len(data)))
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
		binary.NativeEndian.PutUint32(b[8:], uint32(level))
		binary.NativeEndian.PutUint32(b[12:], uint32(typ))
		copy(b[16:], data)
		return b
	}
	for what, c := range map[string]struct {
		oob  []byte
		want int32
		own  bool
	}{
		"none":            {nil, noNSID, true},
		"an nsid":         {cmsg(unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 7, 0, 0, 0), 7, false},
		"another message": {cmsg(unix.SOL_NETLINK, unix.NETLINK_PKTINFO, 7, 0, 0, 0), noNSID, true},
		"another level":   {cmsg(unix.SOL_SOCKET, unix.NETLINK_LISTEN_ALL_NSID, 7, 0, 0, 0), noNSID, true},
		"cut short":       {[]byte{1, 2, 3}, noNSID, true},
	} {
		if id, own := sourceOf(c.oob); id != c.want || own != c.own {
			t.Errorf("%s: %d, %v", what, id, own)
		}
	}
}

// Whatever comes with a datagram, it names a namespace or is our own.
func FuzzSourceOf(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add(append([]byte{20, 0, 0, 0, 0, 0, 0, 0, 14, 1, 0, 0, unix.NETLINK_LISTEN_ALL_NSID, 0, 0, 0}, 7, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, oob []byte) {
		if id, own := sourceOf(oob); own && id != noNSID {
			t.Errorf("our own, and nsid %d", id)
		}
	})
}
