package link

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// ErrUnknown is returned for an interface whose namespace is not known.
var ErrUnknown = errors.New("no such interface")

// Bytes is what an interface's driver itself has counted. A tap's transmit
// count has what its holder's queue took, not what was dropped before.
type Bytes struct {
	Receive, Transmit uint64
}

// Bytes asks the kernel, which takes RTNL for it: some 5 us. It may be called
// while Run runs.
func (w *Watcher) Bytes(k netns.Device) (Bytes, error) {
	ns := w.table.of(k.Netns)
	if ns == nil {
		return Bytes{}, fmt.Errorf("count bytes: %w", ErrUnknown)
	}
	body, err := w.conn.Get(unix.RTM_GETLINK, bytesRequest(ns.nsid, k.Ifindex))
	if err != nil {
		return Bytes{}, fmt.Errorf("count bytes of interface %d: %w", k.Ifindex, err)
	}
	return parseBytes(body)
}

func bytesRequest(id netns.NSID, i netns.Ifindex) []byte {
	body := make([]byte, unix.SizeofIfInfomsg, 64)
	putIfindex(body, i)
	return nlsafe.AppendUint32(body, unix.IFLA_TARGET_NETNSID, uint32(id))
}

// parseBytes reads the beginning of struct rtnl_link_stats64.
func parseBytes(body []byte) (b Bytes, err error) {
	if len(body) < unix.SizeofIfInfomsg {
		return b, fmt.Errorf("%w: %d bytes of link header", nlsafe.ErrMalformed, len(body))
	}
	found := false
	err = nlsafe.EachAttr(body[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) error {
		if typ != unix.IFLA_STATS64 {
			return nil
		}
		if len(v) < 32 {
			return fmt.Errorf("%w: %d bytes of statistics", nlsafe.ErrMalformed, len(v))
		}
		b.Receive, b.Transmit = binary.NativeEndian.Uint64(v[16:]), binary.NativeEndian.Uint64(v[24:])
		found = true
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no statistics", nlsafe.ErrMalformed)
	}
	if err != nil {
		return Bytes{}, err
	}
	return b, nil
}
