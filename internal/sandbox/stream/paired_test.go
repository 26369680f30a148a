package stream

import (
	"net"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
)

// Whoever watches the kernel must know both sockets of a connection as one
// before the first byte goes through.
func TestPairedIsToldBeforeTheFirstByte(t *testing.T) {
	type pair struct{ front, back uint64 }
	var mu sync.Mutex
	var told []pair
	w := newWorld(t, Config{Paired: func(front, back uint64) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, pair{front, back})
	}})
	var want []pair
	for range 3 {
		client, guest := w.pair(t) // accepted, and nothing sent
		mu.Lock()
		n := len(told)
		mu.Unlock()
		if want = append(want, pair{front: cookieOf(t, client.RemoteAddr(), client.LocalAddr()), back: cookieOf(t, guest.RemoteAddr(), guest.LocalAddr())}); n != len(want) {
			t.Fatalf("%d pairs told of %d connections", n, len(want))
		}
		send(t, client, "x")
		wantRead(t, guest, "x")
		send(t, guest, "y")
		wantRead(t, client, "y")
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("told %+v, want %+v", told[i], want[i])
		}
	}
}

// cookieOf asks the kernel by the addresses of a socket.
func cookieOf(t *testing.T, local, remote net.Addr) uint64 {
	t.Helper()
	s, err := netlink.SocketGet(local, remote)
	if err != nil {
		t.Fatal(err)
	}
	return uint64(s.ID.Cookie[1])<<32 | uint64(s.ID.Cookie[0])
}
