package probe

import (
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// The sizes of the bulk that is sent: as TCP does, many frames' worth passes
// the stack at once and is cut at the end.
const (
	frameData = 1400
	perWrite  = 44
)

// BenchmarkThroughput sends bulk data from one namespace over a veth pair
// through a slot's namespace out of its tap, to a reader that plays the VMM. The
// ratio is of frames a second with hooks over those without, the median of
// rounds that alternate.
func BenchmarkThroughput(b *testing.B) {
	for _, mode := range modesHere() {
		b.Run(string(mode), func(b *testing.B) {
			p, err := Load(Config{HooksDir: b.TempDir() + "/hooks", Mode: mode})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			w := newWire(b)
			w.warm()
			var ratios []float64
			var with time.Duration
			for b.Loop() {
				without := w.send(500)
				if err := p.Attach(w.slot, w.device, "tap0"); err != nil {
					b.Fatal(err)
				}
				took := w.send(500)
				if err := p.Detach(w.slot, w.device); err != nil {
					b.Fatal(err)
				}
				with += took
				ratios = append(ratios, float64(without)/float64(took))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "with/without")
			b.ReportMetric(float64(with.Nanoseconds())/float64(b.N*500*perWrite), "ns/frame")
		})
	}
}

// wire is a sender's namespace, a slot's, and the slot's tap.
type wire struct {
	b      *testing.B
	slot   string
	device netns.Device
	guest  *os.File
	conn   net.Conn
}

func newWire(b *testing.B) *wire {
	b.Helper()
	w := &wire{b: b, slot: nettest.Netns(b)}
	sender := nettest.Netns(b)
	w.guest = nettest.AttachTap(b, w.slot, "tap0")
	var err error
	if w.device.Netns, err = netns.CookieOf(w.slot); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(netns.Path(w.slot))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	nettest.In(b, sender, func() error {
		veth := &netlink.Veth{PeerName: "eth0", PeerNamespace: netlink.NsFd(f.Fd())}
		veth.Name = "veth0"
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		if err := address("veth0", "10.12.0.2/31"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: netlink.NewIPNet(guestIP[:]), Gw: net.IPv4(10, 12, 0, 3)})
	})
	nettest.In(b, w.slot, func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return err
		}
		if err := address("eth0", "10.12.0.3/31"); err != nil {
			return err
		}
		if err := address("tap0", "169.254.0.22/30"); err != nil {
			return err
		}
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		w.device.Ifindex = netns.Ifindex(l.Attrs().Index)
		return netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: guestIP[:], HardwareAddr: guestMAC})
	})
	nettest.In(b, sender, func() (err error) {
		cut := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, frameData)
			}), err)
		}}
		w.conn, err = cut.Dial("udp", "169.254.0.21:9")
		return err
	})
	b.Cleanup(func() { w.conn.Close() })
	return w
}

func address(link, addr string) error {
	l, err := netlink.LinkByName(link)
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

// warm sends single datagrams until one comes through: by then neighbours are known.
func (w *wire) warm() {
	w.b.Helper()
	frame := make([]byte, 2048)
	nettest.Eventually(w.b, "a datagram through the slot", func() bool {
		if _, err := w.conn.Write([]byte("x")); err != nil {
			return false
		}
		if err := w.guest.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return false
		}
		n, err := w.guest.Read(frame)
		return err == nil && n > vnetHeader+23 && frame[vnetHeader+23] == unix.IPPROTO_UDP
	})
}

// send writes n times and returns how long it took until the last frame was read
// from the tap.
func (w *wire) send(n int) time.Duration {
	w.b.Helper()
	data, frame := make([]byte, perWrite*frameData), make([]byte, 2048)
	if err := w.guest.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		w.b.Fatal(err)
	}
	start := time.Now()
	for range n {
		if _, err := w.conn.Write(data); err != nil {
			w.b.Fatal(err)
		}
		for read := 0; read < perWrite; {
			n, err := w.guest.Read(frame)
			if err != nil {
				w.b.Fatal(err)
			}
			if f := frame[vnetHeader:n]; len(f) > frameData && f[23] == unix.IPPROTO_UDP {
				read++
			}
		}
	}
	return time.Since(start)
}
