package trace

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// One connection as two devices see it, and a port that nobody asked for.
func TestCapture(t *testing.T) {
	nettest.NeedRoot(t)
	other := nettest.Netns(t)
	near := nettest.Veth(t, other)
	base := netip.AddrFrom4([4]byte{198, 18, byte(rand.N(256)), byte(rand.N(128) * 2)})
	if err := up(near, base.String()+"/31"); err != nil {
		t.Fatal(err)
	}
	nettest.In(t, other, func() error { return up("eth0", base.Next().String()+"/31") })
	c, err := Open([]Point{{Name: "here", Device: near}, {Name: "there", Netns: netns.Path(other), Device: "eth0"}}, 49983)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, port := range []uint16{49983, 49984} {
		at := netip.AddrPortFrom(base.Next(), port)
		var l net.Listener
		nettest.In(t, other, func() (err error) { l, err = net.Listen("tcp4", at.String()); return err })
		go func() {
			if conn, err := l.Accept(); err == nil {
				b := make([]byte, 5)
				_, _ = conn.Read(b)
				_, _ = conn.Write([]byte("answer"))
				conn.Close()
			}
		}()
		conn, err := net.Dial("tcp4", at.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 6)
		if _, err := conn.Read(b); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
	}
	all, err := c.Read(t.Context(), 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	type kind struct {
		point       int
		out, answer bool
		flags       uint8
		len         uint32
	}
	got := map[kind]int{}
	arp := 0
	for _, f := range all {
		if f.ARP != 0 {
			arp++
			continue
		}
		if time.Since(f.At) > time.Minute {
			t.Errorf("seen at %s", f.At)
		}
		got[kind{f.Point, f.Out, f.Answer, f.Flags & (syn | ack), f.Len}]++
	}
	for _, want := range []kind{{0, true, false, syn, 0}, {1, false, false, syn, 0}, {1, true, true, syn | ack, 0}, {0, false, true, syn | ack, 0},
		{0, true, false, ack, 5}, {1, false, false, ack, 5}, {1, true, true, ack, 6}, {0, false, true, ack, 6}} {
		if got[want] != 1 {
			t.Errorf("%+v: %d times", want, got[want])
		}
	}
	if arp < 4 {
		t.Errorf("%d ARP messages", arp)
	}
	if _, err := Open([]Point{{Name: "none", Netns: netns.Path(other), Device: "none"}}, 1); err == nil {
		t.Error("there is no such device")
	}
}

func up(name, addr string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}
