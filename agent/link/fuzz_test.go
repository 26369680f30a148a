package link

import (
	"encoding/binary"
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// fuzzDatagram puts messages one after the other, as the kernel sends them.
func fuzzDatagram(typ uint16, bodies ...[]byte) (all []byte) {
	for _, b := range bodies {
		m := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(b))
		binary.NativeEndian.PutUint32(m, uint32(len(m)+len(b)))
		binary.NativeEndian.PutUint16(m[4:], typ)
		all = append(all, append(m, b...)...)
	}
	return all
}

// Whatever the socket receives, what is told chains: each change begins with what
// the one before ended with, and the last ones are the table.
func FuzzEvents(f *testing.F) {
	tap := body(unix.AF_UNSPEC, 2, 1, words(unix.IFLA_IFNAME, "tap0"), attr(unix.IFLA_CARRIER, 1), number(unix.IFLA_CARRIER_UP_COUNT, 1))
	lost := body(unix.AF_UNSPEC, 2, 1, words(unix.IFLA_IFNAME, "tap0"), attr(unix.IFLA_CARRIER, 0), number(unix.IFLA_CARRIER_UP_COUNT, 1), number(unix.IFLA_CARRIER_DOWN_COUNT, 1))
	f.Add(append(fuzzDatagram(unix.RTM_NEWLINK, tap, lost), fuzzDatagram(unix.RTM_DELLINK, lost)...))
	nsid := append(make([]byte, 4), nlsafe.AppendUint32(nil, 1, 7)...) // struct rtgenmsg, NETNSA_NSID
	f.Add(append(fuzzDatagram(unix.RTM_NEWLINK, tap), fuzzDatagram(unix.RTM_DELNSID, nsid)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := New(Config{Backlog: len(b) + 16, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		const id, cookie = netns.NSID(7), netns.Cookie(77)
		w.self, w.selfID = cookie, id
		w.table.bind(id, cookie)
		w.events(t.Context(), nlsafe.Datagram{Bytes: b, NSID: int32(id)})
		close(w.changes)
		last := map[netns.Device]*Link{}
		for c := range w.changes {
			if c.Old != last[c.Key()] || c.Old == nil && c.New == nil {
				t.Fatalf("a change from %+v to %+v, the one before ended with %+v", c.Old, c.New, last[c.Key()])
			}
			if last[c.Key()] = c.New; c.New == nil {
				delete(last, c.Key())
			}
		}
		for _, l := range w.Snapshot() {
			if told := last[l.Key()]; told == nil || !told.same(l) {
				t.Fatalf("the table has %+v, told was %+v", l, told)
			}
		}
		if len(w.Snapshot()) != len(last) {
			t.Fatalf("%d links, %d told", len(w.Snapshot()), len(last))
		}
	})
}
