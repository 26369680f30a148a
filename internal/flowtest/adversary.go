package flowtest

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// An adversary carries bytes in ways that look like others' connections: what a
// thread sends is not what it has just received.
type adversary struct {
	epoll int
	mu    sync.Mutex
	legs  map[int32]*leg // by socket
}

// leg is one socket of a pair, and what was read from it and is yet to be sent.
type leg struct {
	fd, other int
	data      []byte // nil at its end
}

func newAdversary(listen, dial string) (*adversary, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	a := &adversary{epoll: ep, legs: map[int32]*leg{}}
	go func() {
		err := forward([]string{listen, dial}, a.take)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}()
	return a, nil
}

// take gives a pair's sockets to the threads. Go's own are closed by the caller.
func (a *adversary) take(front, back *net.TCPConn) {
	f, err := front.File()
	if err != nil {
		return
	}
	b, err := back.File()
	if err != nil {
		f.Close()
		return
	}
	pair := make([]int, 2)
	for i, file := range []*os.File{f, b} {
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		file.Close()
		if err != nil {
			panic(os.NewSyscallError("dup", err))
		}
		_ = unix.SetNonblock(fd, true)
		pair[i] = fd
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, fd := range pair {
		a.legs[int32(fd)] = &leg{fd: fd, other: pair[1-i]}
		err := unix.EpollCtl(a.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
		if err != nil {
			panic(os.NewSyscallError("epoll_ctl", err))
		}
	}
}

// ready waits for sockets to read from, and reads each into the same buffer: what
// came is copied out of it. Without a buffer it is read into memory of its own.
func (a *adversary) ready(shared []byte) []leg {
	var events [256]unix.EpollEvent
	n, err := unix.EpollWait(a.epoll, events[:], -1)
	if err != nil && err != unix.EINTR {
		panic(os.NewSyscallError("epoll_wait", err))
	}
	var read []leg
	for _, e := range events[:max(n, 0)] {
		a.mu.Lock()
		l := *a.legs[e.Fd]
		a.mu.Unlock()
		buf := shared
		if shared == nil {
			buf = make([]byte, 64<<10)
		}
		n, err := unix.Read(l.fd, buf)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if n > 0 && shared != nil {
			l.data = slices.Clone(buf[:n])
		} else if n > 0 {
			l.data = buf[:n]
		} else {
			_ = unix.EpollCtl(a.epoll, unix.EPOLL_CTL_DEL, l.fd, nil)
		}
		read = append(read, l)
	}
	return read
}

// send sends on what was read, and waits where it must. A pair stays open, half
// closed, to the proxy's end: tests are short.
func (l leg) send() {
	if l.data == nil {
		_ = unix.Shutdown(l.other, unix.SHUT_WR)
		return
	}
	for len(l.data) > 0 {
		n, err := unix.Write(l.other, l.data)
		switch err {
		case nil:
			l.data = l.data[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(l.other), Events: unix.POLLOUT}}, 100)
		default:
			return
		}
	}
}

// batchProxy is one thread that reads from all that are ready, and only then
// sends it all on, the last first.
func batchProxy(args []string) error {
	runtime.LockOSThread()
	a, err := newAdversary(args[0], args[1])
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		read := a.ready(buf)
		slices.Reverse(read)
		for _, l := range read {
			l.send()
		}
		time.Sleep(200 * time.Microsecond) // more will be ready at once
	}
}

// bounceProxy is like batchProxy, and sends all from the very buffer that it reads
// into: what was last read there was another's.
func bounceProxy(args []string) error {
	runtime.LockOSThread()
	a, err := newAdversary(args[0], args[1])
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		for _, l := range a.ready(buf) {
			if l.data != nil {
				l.data = buf[:copy(buf, l.data)]
			}
			l.send()
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// handoverProxy is a thread that reads and two others that send, copies of what was
// read or, with -own, the memory that it was read into.
func handoverProxy(args []string) error {
	flags := flag.NewFlagSet("handover", flag.ContinueOnError)
	own := flags.Bool("own", false, "send the memory that was read into")
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	runtime.LockOSThread()
	a, err := newAdversary(args[0], args[1])
	if err != nil {
		return err
	}
	queues := make([]chan leg, 2)
	for i := range queues {
		queues[i] = make(chan leg, 1<<10)
		go func() {
			runtime.LockOSThread()
			for l := range queues[i] {
				l.send()
			}
		}()
	}
	var buf []byte
	if !*own {
		buf = make([]byte, 64<<10)
	}
	for {
		for _, l := range a.ready(buf) {
			queues[l.other%len(queues)] <- l
		}
	}
}
