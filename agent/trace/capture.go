// Package trace looks for where the packets of a path are lost. It listens at every
// device that they pass, for a moment and only where requests fail, and compares what
// was seen at neighbours: what came to one and not to the next was lost in between,
// whatever the cause. Nothing is changed on the path.
package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Point is a device that packets of a path pass.
type Point struct {
	Name   string   // for people, e.g. "eth0 in ns-7"
	Hop    path.Hop // where packets are lost that do not come here
	Netns  string   // path of the namespace; empty: the caller's own
	Device string
}

// Frame is a packet that was seen at a point: a TCP segment of the service, or an ARP
// message.
type Frame struct {
	Point int
	At    time.Time
	Out   bool // it left by the device

	ARP    uint16     // its operation; 0: it is a segment
	Target netip.Addr // ARP: who is asked for
	Sender netip.Addr // ARP: who asks

	Client uint16 // the port that is not the service's
	Answer bool   // from the service's port
	Seq    uint32
	Ack    uint32
	Len    uint32 // of its data
	Flags  uint8
}

// Flags of TCP.
const (
	fin = 1 << iota
	syn
	rst
	_
	ack
)

const (
	// framesMost bounds what is kept of a point: what is seen later is left out, there
	// and at the others.
	framesMost = 4096
	snap       = 128
)

// Capture listens at the points of a path.
type Capture struct {
	points []Point
	port   uint16
	fds    []int
	frames []Frame
	seen   []int
	until  time.Time // what was seen later is left out; zero: nothing is
}

// Open begins to listen at the points, in order, for the segments of a port and for ARP.
// It needs CAP_NET_RAW, and CAP_SYS_ADMIN for other namespaces.
func Open(points []Point, port uint16) (_ *Capture, err error) {
	c := &Capture{points: points, port: port, seen: make([]int, len(points))}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for _, p := range points {
		open := func() error {
			fd, err := listen(p.Device, port)
			if err == nil {
				c.fds = append(c.fds, fd)
			}
			return err
		}
		if p.Netns != "" {
			err = netns.Do(p.Netns, open)
		} else {
			err = open()
		}
		if err != nil {
			return nil, fmt.Errorf("listen at %s: %w", p.Name, err)
		}
	}
	return c, nil
}

// Close ends the listening.
func (c *Capture) Close() {
	for _, fd := range c.fds {
		unix.Close(fd)
	}
	c.fds = nil
}

// listen opens a packet socket on a device of the thread's namespace.
func listen(device string, port uint16) (fd int, err error) {
	// Protocol 0: nothing comes before the filter is there.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	if err := setFilter(fd, port); err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return -1, fmt.Errorf("timestamps of packets: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20) // what there is by default may do
	ifr, err := unix.NewIfreq(device)
	if err != nil {
		return -1, fmt.Errorf("device %q: %w", device, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return -1, fmt.Errorf("device %s: %w", device, err)
	}
	addr := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: int(ifr.Uint32())}
	if err := unix.Bind(fd, &addr); err != nil {
		return -1, fmt.Errorf("bind to %s: %w", device, err)
	}
	return fd, nil
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// setFilter lets ARP pass, and TCP over IPv4 from or to the port.
func setFilter(fd int, port uint16) error {
	raw, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipTrue: 8},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.ETH_P_IP, SkipTrue: 8},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_TCP, SkipTrue: 6},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 0, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 2},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: snap},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return fmt.Errorf("filter of packets: %w", err)
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		prog[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return fmt.Errorf("filter of packets: %w", err)
	}
	return nil
}

// Read gathers what comes for a time, and returns all that was seen so far.
func (c *Capture) Read(ctx context.Context, wait time.Duration) ([]Frame, error) {
	end := time.Now().Add(wait)
	poll := make([]unix.PollFd, len(c.fds))
	for i, fd := range c.fds {
		poll[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	for left := wait; left > 0 && ctx.Err() == nil; left = time.Until(end) {
		n, err := unix.Poll(poll, int(min(left, 100*time.Millisecond).Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("wait for packets: %w", err)
		}
		for i := range poll {
			if n > 0 && poll[i].Revents&unix.POLLIN != 0 {
				c.drain(i)
			}
			if poll[i].Revents&(unix.POLLERR|unix.POLLNVAL) != 0 { // the device has gone
				poll[i].Fd = -1
			}
		}
	}
	return c.frames, ctx.Err()
}

// drain reads all that waits at a point.
func (c *Capture) drain(point int) {
	var data [snap]byte
	var control [64]byte
	for {
		n, oobn, _, from, err := unix.Recvmsg(c.fds[point], data[:], control[:], unix.MSG_TRUNC)
		if err != nil {
			return
		}
		if c.seen[point]++; c.seen[point] > framesMost {
			if c.until.IsZero() {
				c.until = time.Now()
			}
			continue
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		f := Frame{Point: point, At: timeOf(control[:oobn]), Out: ll.Pkttype == unix.PACKET_OUTGOING}
		if c.decode(&f, htons(ll.Protocol), data[:min(n, snap)], n) && (c.until.IsZero() || f.At.Before(c.until)) {
			c.frames = append(c.frames, f)
		}
	}
}

// timeOf is when the kernel saw a packet.
func timeOf(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

// decode reads a packet from its network header on; whole is its length on the wire.
func (c *Capture) decode(f *Frame, protocol uint16, b []byte, whole int) bool {
	switch {
	case protocol == unix.ETH_P_ARP && len(b) >= 28:
		f.ARP = binary.BigEndian.Uint16(b[6:])
		f.Sender, f.Target = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
		return f.ARP != 0 && f.Sender != f.Target // an announcement asks nobody
	case protocol != unix.ETH_P_IP || len(b) < 20:
		return false
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 { // a packet that is larger than the field can say
		total = whole
	}
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 || len(b) < header+20 {
		return false
	}
	tcp := b[header:]
	from, to := binary.BigEndian.Uint16(tcp), binary.BigEndian.Uint16(tcp[2:])
	f.Client, f.Answer = from, false
	if from == c.port {
		f.Client, f.Answer = to, true
	}
	f.Seq, f.Ack, f.Flags = binary.BigEndian.Uint32(tcp[4:]), binary.BigEndian.Uint32(tcp[8:]), tcp[13]
	if data := total - header - int(tcp[12]>>4)*4; data > 0 {
		f.Len = uint32(data)
	}
	return true
}
