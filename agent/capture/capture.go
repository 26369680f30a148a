// Package capture records the packets of one sandbox at every device of its path at
// once, and tells which of them did not come from one device to the next. Nothing is
// changed on the path.
package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Point is a device that is listened at.
type Point struct {
	Name   string // of the interface in the file, e.g. "proxy>relay veth-3"
	What   string // in words
	Netns  string // path of the namespace; empty: the caller's own
	Device string

	ethernet bool
}

// Frame is what was seen at a point.
type Frame struct {
	Point   int
	At      time.Time
	Out     bool // it left the kernel by the device
	Data    []byte
	Length  int    // on the wire; Data may be less
	Comment string // what became of it
}

// Limits bound a recording.
type Limits struct {
	For   time.Duration
	Bytes int    // of all frames
	Port  uint16 // only TCP and UDP from or to it, and ARP; 0: everything
}

// Recording is what was seen, in the order of time.
type Recording struct {
	Points []Point
	Frames []Frame
	Missed []uint32 // of each point: frames that came faster than they were read
	Full   bool     // it ended by its limit of bytes
	Ended  time.Time

	began time.Time // all points were listened at; what came before is left out
}

// longest is more than any frame has that a device hands to the kernel at once.
const longest = 1 << 18

// Record listens at the points until the limits or ctx end it. It needs CAP_NET_RAW,
// and CAP_SYS_ADMIN for other namespaces.
func Record(ctx context.Context, points []Point, l Limits) (*Recording, error) {
	r := &Recording{Points: slices.Clone(points), Missed: make([]uint32, len(points))}
	var poll []unix.PollFd
	defer func() {
		for _, p := range poll {
			unix.Close(int(p.Fd))
		}
	}()
	for i := range r.Points {
		fd, err := r.Points[i].open()
		if err != nil {
			return nil, fmt.Errorf("listen at %s: %w", points[i].Device, err)
		}
		poll = append(poll, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	buffer, left := make([]byte, longest), l.Bytes
	r.began = time.Now()
	end := r.began.Add(l.For)
	for now := time.Now(); now.Before(end) && ctx.Err() == nil && !r.Full; now = time.Now() {
		wait := min(end.Sub(now), 100*time.Millisecond)
		if _, err := unix.Poll(poll, int(wait.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, fmt.Errorf("wait for packets: %w", err)
		}
		gone := 0
		for i := range poll {
			if poll[i].Revents&unix.POLLIN != 0 && !r.drain(int(poll[i].Fd), i, buffer, l.Port, &left, end) {
				r.Full = true
			}
			if poll[i].Revents&(unix.POLLERR|unix.POLLNVAL) != 0 {
				poll[i].Events = 0
				gone++
			}
		}
		if gone == len(poll) { // all devices have gone, and their sockets say so at once
			break
		}
	}
	if r.Ended = time.Now(); r.Ended.After(end) {
		r.Ended = end
	}
	for i := range poll { // what waits since the last look
		if !r.Full && !r.drain(int(poll[i].Fd), i, buffer, l.Port, &left, end) {
			r.Full = true
		}
	}
	for i := range poll {
		if s, err := unix.GetsockoptTpacketStats(int(poll[i].Fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.Missed[i] = s.Drops
		}
	}
	slices.SortStableFunc(r.Frames, func(a, b Frame) int { return a.At.Compare(b.At) })
	return r, nil
}

// open opens a packet socket on the device.
func (p *Point) open() (fd int, err error) {
	listen := func() error {
		fd, err = p.listen()
		return err
	}
	if p.Netns == "" {
		err = listen()
	} else {
		err = netns.Do(p.Netns, listen)
	}
	return fd, err
}

func (p *Point) listen() (fd int, err error) {
	// Protocol 0: nothing of other devices comes before it is bound.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	ifr, err := unix.NewIfreq(p.Device)
	if err != nil {
		return -1, fmt.Errorf("device %q: %w", p.Device, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, ifr); err != nil {
		return -1, fmt.Errorf("device %s: %w", p.Device, err)
	}
	p.ethernet = ifr.Uint16() == unix.ARPHRD_ETHER
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return -1, fmt.Errorf("device %s: %w", p.Device, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return -1, fmt.Errorf("timestamps of packets: %w", err)
	}
	const room = 8 << 20
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room) // what there is by default may do
	}
	addr := unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8, Ifindex: int(ifr.Uint32())}
	if err := unix.Bind(fd, &addr); err != nil {
		return -1, fmt.Errorf("bind to %s: %w", p.Device, err)
	}
	return fd, nil
}

// drain reads what waits at a point; false: the bytes are used up. What came after the
// end is left out, or a flood would have no end.
func (r *Recording) drain(fd, point int, buffer []byte, port uint16, left *int, end time.Time) bool {
	var control [64]byte
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, buffer, control[:], unix.MSG_TRUNC)
		if err != nil {
			return true
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok {
			continue
		}
		f := Frame{Point: point, At: timeOf(control[:oobn]), Out: ll.Pkttype == unix.PACKET_OUTGOING, Data: buffer[:min(n, len(buffer))], Length: n}
		if f.At.After(end) {
			return true
		}
		if f.At.Before(r.began) || port != 0 && !concerns(parse(f.Data, r.Points[point].ethernet), port) {
			continue
		}
		if *left -= len(f.Data); *left < 0 {
			return false
		}
		f.Data = slices.Clone(f.Data)
		r.Frames = append(r.Frames, f)
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

// Plan is where to listen, and between which of the points the same packets pass.
type Plan struct {
	Points []Point
	Pairs  []Pair
}

// Pair are two neighbours that the same packets pass, the first nearer to the client.
type Pair struct {
	Near, Far int
	// Service says that only packets of the service are passed on from one to the
	// other: between them is a kernel that has packets of its own.
	Service uint16 // its port; 0: all packets pass
}

// PlanOf is where the packets of a sandbox pass, in whatever shape its path is.
func PlanOf(s path.Slot) (Plan, error) {
	if s.Device.Name == "" {
		return Plan{}, fmt.Errorf("%s has no tap to listen at", s.Netns)
	}
	within, err := namespaceOf(s)
	if err != nil {
		return Plan{}, err
	}
	tap := Point{Name: "relay>guest " + s.Device.Name, What: "the tap, in " + s.Netns, Netns: within, Device: s.Device.Name}
	relayed := s.Sandbox != nil && path.HasRelay(s.Sandbox.Shape)
	if s.Host || s.Veth.Host == "" || s.Veth.Peer == "" {
		tap.Name = "proxy>guest " + s.Device.Name
		return Plan{Points: []Point{tap}}, nil
	}
	p := Plan{
		Points: []Point{
			{Name: "proxy>relay " + s.Veth.Host, What: "the host's end of the veth pair", Device: s.Veth.Host},
			{Name: "proxy>relay " + s.Veth.Peer, What: "the namespace's end of the veth pair, in " + s.Netns, Netns: within, Device: s.Veth.Peer},
			tap,
		},
		Pairs: []Pair{{Near: 0, Far: 1}},
	}
	if !relayed && s.Sandbox != nil && s.Sandbox.Shape != "" && s.Sandbox.Shape != "fused" {
		p.Pairs = append(p.Pairs, Pair{Near: 1, Far: 2, Service: s.Port()})
	}
	return p, nil
}

// namespaceOf is the path by which the namespace of a slot is entered: its name, or a
// process in it. That it is that namespace still, its cookie says.
func namespaceOf(s path.Slot) (string, error) {
	if s.Host {
		return "", nil
	}
	paths := []string{netns.Path(s.Netns)}
	if s.Sandbox != nil && s.Sandbox.VMMPID > 0 {
		paths = append(paths, fmt.Sprintf("/proc/%d/ns/net", s.Sandbox.VMMPID))
	}
	if s.Unidentified != nil {
		paths = append(paths, fmt.Sprintf("/proc/%d/ns/net", s.Unidentified.PID))
	}
	for _, p := range paths {
		if c, err := netns.CookieOf(p); err == nil && (s.Cookie == 0 || c == s.Cookie) {
			return p, nil
		}
	}
	return "", fmt.Errorf("no way into namespace %s: it has gone, or this is another mount namespace than its host's; or run it as root", s.Netns)
}
