package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// asClient runs fn on a thread of its own in the host's namespace, on one CPU or
// (below 0) on any. The thread is given back: processes that it started end with
// it.
func asClient(t testing.TB, w *world, cpu int, fn func() error) {
	t.Helper()
	if cpu >= 0 {
		onAll := fn
		fn = func() error {
			var before, one unix.CPUSet
			one.Set(cpu)
			if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &one)); err != nil {
				return err
			}
			return errors.Join(onAll(), unix.SchedSetaffinity(0, &before))
		}
	}
	if err := netns.Do(w.host, fn); err != nil {
		t.Error(err)
	}
}

// The client's own calls block its thread, and the runtime is not told: it would
// put other threads in between.

func readFD(fd int, b []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func writeFD(fd int, b []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if e == 0 {
			return int(n), nil
		}
		if e != unix.EINTR {
			return 0, e
		}
	}
}

func dial(to netip.AddrPort, flags int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|flags, 0)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return -1, fmt.Errorf("connect %s: %w", to, err)
	}
	return fd, nil
}

// ask sends one request over a connection and reads the answer.
func ask(fd int, buf []byte) error {
	if _, err := writeFD(fd, request); err != nil {
		return err
	}
	for got := 0; got < len(response); {
		n, err := readFD(fd, buf)
		if err != nil || n == 0 {
			return fmt.Errorf("no answer: %d bytes, %w", n, err)
		}
		got += n
		if buf[n-1] == 'k' { // the proxy adds headers; the body ends so
			return nil
		}
	}
	return nil
}

// bulk moves bytes for a while and returns bytes a second, and the CPU seconds
// that a process with its children took for each 10^9 of them.
func bulk(to netip.AddrPort, down bool, d time.Duration, pid int) (rate, cpu float64, err error) {
	fd, err := dial(to, 0)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	first, move := upload, writeFD
	if down {
		first, move = download, readFD
	}
	if _, err := writeFD(fd, first); err != nil {
		return 0, 0, err
	}
	buf := make([]byte, 256<<10)
	run := func(d time.Duration) (moved int64, took time.Duration, err error) {
		begun := time.Now()
		for took < d {
			n, err := move(fd, buf)
			if err != nil || n == 0 {
				return 0, 0, fmt.Errorf("bulk ended after %d bytes: %w", moved, err)
			}
			moved += int64(n)
			took = time.Since(begun)
		}
		return moved, took, nil
	}
	if _, _, err := run(d / 3); err != nil { // buffers and windows grow
		return 0, 0, err
	}
	before := cpuTime(pid)
	moved, took, err := run(d)
	used := cpuTime(pid) - before
	if err != nil {
		return 0, 0, err
	}
	return float64(moved) / took.Seconds(), used.Seconds() / (float64(moved) / 1e9), nil
}

// roundTrips asks over one connection and returns the median.
func roundTrips(to netip.AddrPort, d time.Duration) (time.Duration, error) {
	times, err := allTrips(to, d)
	if err != nil {
		return 0, err
	}
	return times[len(times)/2], nil
}

// allTrips asks over one connection and returns what each took, the least first.
func allTrips(to netip.AddrPort, d time.Duration) ([]time.Duration, error) {
	fd, err := dial(to, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := make([]byte, 64<<10)
	var times []time.Duration
	for begun := time.Now(); time.Since(begun) < d; {
		sent := time.Now()
		if err := ask(fd, buf); err != nil {
			return nil, fmt.Errorf("request %d: %w", len(times)+1, err)
		}
		times = append(times, time.Since(sent))
	}
	slices.Sort(times)
	return times, nil
}

// crowd keeps so many connections busy, each with one request at a time, and
// returns requests a second. Where each is for one request only, connecting and
// closing are part of it.
func crowd(to netip.AddrPort, conns int, once bool, d time.Duration) (rate float64, err error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(ep)
	open := make(map[int32]bool)
	defer func() {
		for fd := range open {
			unix.Close(int(fd))
		}
	}()
	begin := func() error {
		fd, err := dial(to, unix.SOCK_NONBLOCK)
		if err != nil {
			return err
		}
		open[int32(fd)] = false // nothing was sent
		return watch(ep, fd, unix.EPOLLOUT|unix.EPOLLIN|unix.EPOLLET&0xffffffff)
	}
	for range conns {
		if err := begin(); err != nil {
			return 0, err
		}
	}
	events, buf := make([]unix.EpollEvent, 256), make([]byte, 64<<10)
	finished := 0
	begun := time.Now()
	for time.Since(begun) < d {
		n, err := unix.EpollWait(ep, events, 5000)
		if n == 0 {
			return 0, errors.New("nothing came for 5 s")
		}
		if err != nil && err != unix.EINTR {
			return 0, err
		}
		for _, ev := range events[:max(n, 0)] {
			fd := int(ev.Fd)
			if !open[ev.Fd] {
				if ev.Events&unix.EPOLLOUT == 0 {
					continue
				}
				open[ev.Fd] = true
			} else {
				n, err := readFD(fd, buf)
				if errors.Is(err, unix.EAGAIN) {
					continue
				}
				if err != nil || n == 0 {
					return 0, fmt.Errorf("connection lost: %w", err)
				}
				finished++
				if once {
					delete(open, ev.Fd)
					unix.Close(fd)
					if err := begin(); err != nil {
						return 0, err
					}
					continue
				}
			}
			if _, err := writeFD(fd, request); err != nil {
				return 0, err
			}
		}
	}
	return float64(finished) / time.Since(begun).Seconds(), nil
}
