package probe

import (
	"encoding/binary"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// guest plays a sandbox's kernel on a tap that the test holds: it builds frames
// with right checksums, so that the host's kernel takes them seriously.
type guest struct {
	t    *testing.T
	f    *os.File
	host net.HardwareAddr // the tap's
}

var (
	guestMAC = net.HardwareAddr{2, 0xfc, 0, 0, 0, 5}
	guestIP  = [4]byte{169, 254, 0, 21}
	hostIP   = [4]byte{169, 254, 0, 22}
)

const (
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagACK = 0x10

	vnetHeader = 10 // struct virtio_net_hdr, which IFF_VNET_HDR puts before each frame
)

func newGuest(t *testing.T, ns string, d netns.Device, f *os.File) *guest {
	t.Helper()
	g := &guest{t: t, f: f}
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByIndex(int(d.Ifindex))
		if err == nil {
			g.host = l.Attrs().HardwareAddr
		}
		return err
	})
	return g
}

// segment is the part of a TCP segment that tests care about.
type segment struct {
	src, dst     [4]byte
	sport, dport uint16
	seq, ack     uint32
	flags        byte
	data         string
}

// send writes an Ethernet frame to the tap.
func (g *guest) send(frame []byte) {
	g.t.Helper()
	if _, err := g.f.Write(append(make([]byte, vnetHeader), frame...)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) sendTCP(s segment) {
	g.t.Helper()
	g.send(ethernet(g.host, guestMAC, unix.ETH_P_IP, s.packet()))
}

// syn reads frames until a SYN to a port comes. SYNs before it are passed by.
func (g *guest) syn(port uint16) segment {
	g.t.Helper()
	b := make([]byte, 4096)
	if err := g.f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		g.t.Fatal(err)
	}
	for {
		n, err := g.f.Read(b)
		if err != nil {
			g.t.Fatalf("no SYN to port %d: %v", port, err)
		}
		f := b[vnetHeader:n]
		if len(f) < 54 || f[12] != 8 || f[13] != 0 || f[23] != unix.IPPROTO_TCP || f[47] != flagSYN && f[47]&0x3f != flagSYN {
			continue
		}
		s := segment{src: [4]byte(f[26:30]), dst: [4]byte(f[30:34]), sport: binary.BigEndian.Uint16(f[34:]),
			dport: binary.BigEndian.Uint16(f[36:]), seq: binary.BigEndian.Uint32(f[38:]), flags: f[47]}
		if s.dport == port {
			return s
		}
	}
}

// reply turns a SYN into the head of its answer.
func (s segment) reply(flags byte, seq uint32) segment {
	return segment{src: s.dst, dst: s.src, sport: s.dport, dport: s.sport, seq: seq, ack: s.seq + 1, flags: flags}
}

// packet is the segment's IPv4 packet.
func (s segment) packet() []byte {
	tcp := binary.BigEndian.AppendUint16(nil, s.sport)
	tcp = binary.BigEndian.AppendUint16(tcp, s.dport)
	tcp = binary.BigEndian.AppendUint32(tcp, s.seq)
	tcp = binary.BigEndian.AppendUint32(tcp, s.ack)
	tcp = append(tcp, 5<<4, s.flags, 0xff, 0xff, 0, 0, 0, 0)
	tcp = append(tcp, s.data...)
	pseudo := append(append([]byte{}, s.src[:]...), s.dst[:]...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))

	ip := []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, unix.IPPROTO_TCP, 0, 0}
	ip = append(append(ip, s.src[:]...), s.dst[:]...)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(tcp)))
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, tcp...)
}

// checksum is RFC 1071's.
func checksum(b []byte) uint16 {
	var sum uint32
	for i, c := range b {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func ethernet(dst, src net.HardwareAddr, protocol uint16, payload []byte) []byte {
	f := append(append([]byte{}, dst...), src...)
	return append(binary.BigEndian.AppendUint16(f, protocol), payload...)
}

// arp is a message of RFC 826.
func arp(operation uint16, sender net.HardwareAddr, senderIP [4]byte, target net.HardwareAddr, targetIP [4]byte) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, byte(operation >> 8), byte(operation)}
	b = append(append(b, sender...), senderIP[:]...)
	return append(append(b, target...), targetIP[:]...)
}

// ipv6 is an echo request, of which only the version is looked at.
func ipv6() []byte {
	b := make([]byte, 40+8)
	b[0], b[5], b[6], b[7] = 0x60, 8, unix.IPPROTO_ICMPV6, 64
	return b
}

// transmit sends a frame out of the tap as it is, through a packet socket.
func transmit(t *testing.T, ns string, d netns.Device, frame []byte) {
	t.Helper()
	nettest.In(t, ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: int(d.Ifindex), Halen: 6, Addr: [8]byte(append(guestMAC[:6:6], 0, 0))})
	})
}

// dial makes a connection to the guest, which answers the handshake, and returns
// the host's end and the guest's next segment.
func (g *guest) dial(ns string, port uint16) (fd int, next segment) {
	g.t.Helper()
	nettest.In(g.t, ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(port), Addr: guestIP}); err != unix.EINPROGRESS {
			return err
		}
		return nil
	})
	s := g.syn(port)
	g.sendTCP(s.reply(flagSYN|flagACK, 100))
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	nettest.Eventually(g.t, "connected", func() bool {
		_, err := unix.Poll(p, 0)
		return err == nil && p[0].Revents == unix.POLLOUT
	})
	return fd, s.reply(flagACK, 101)
}
