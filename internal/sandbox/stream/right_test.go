package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

// A reader that stops stops the writer, and nothing grows: what is queued is
// bounded by the kernel's buffers and one room or pipe.
func TestSlowReader(t *testing.T) {
	const buffer = 256 << 10
	w := newWorld(t, Config{Buffer: buffer})
	client, guest := w.pair(t)
	_ = guest.SetReadBuffer(buffer)
	_ = client.SetWriteBuffer(buffer)
	chunk := make([]byte, 64<<10)
	sent := 0
	for { // until nobody takes any more for a while
		if err := client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := client.Write(chunk)
		sent += n
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil || sent > 64<<20 {
			t.Fatalf("%d bytes were taken and nobody read: %v", sent, err)
		}
	}
	rows := w.engine.Connections(nil)
	if len(rows) != 1 || rows[0].Held[Client] > pipeSize {
		t.Errorf("held: %+v", rows)
	}
	if most := 4*2*2*buffer + pipeSize; sent > most { // four sockets, which the kernel lets have twice what was asked, and the skbs' rest
		t.Errorf("%d bytes are under way, more than %d", sent, most)
	}
	if _, err := io.CopyN(io.Discard, guest, int64(sent)); err != nil {
		t.Errorf("not all came through when the reader went on: %v", err)
	}
}

// Without files accepting pauses and nobody is turned away. The limit is the
// whole process's, so the test runs in one of its own.
func TestOutOfFiles(t *testing.T) {
	const inside = "TAPWATCH_TEST_OUT_OF_FILES"
	if os.Getenv(inside) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfFiles$", "-test.v")
		cmd.Env = append(os.Environ(), inside+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	w := newWorld(t, Config{})
	go func() {
		for {
			c, err := w.backend.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
			}
		}
	}()
	var clients []*net.TCPConn
	for range 8 {
		clients = append(clients, w.dial(t))
	}
	for _, c := range clients {
		send(t, c, "x")
		wantRead(t, c, "x")
	}
	late := w.prepare(t) // its own file is there already
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	late()
	nettest.Eventually(t, "accepting pauses", func() bool { _, pauses := w.listener.Accepted(); return pauses > 0 })
	for _, c := range clients { // those that are in go on
		send(t, c, "y")
		wantRead(t, c, "y")
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	c := late()
	send(t, c, "z")
	wantRead(t, c, "z")
	if n, _ := w.listener.Accepted(); n != 9 {
		t.Errorf("%d were accepted, want 9", n)
	}
}

// prepare makes a client's socket; the function it returns connects it, once.
func (w *world) prepare(t *testing.T) func() *net.TCPConn {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	return func() *net.TCPConn {
		connected := false
		once.Do(func() {
			connected = true
			if err := unix.Connect(fd, sockaddr(w.listener.Addr())); err != nil {
				t.Fatal(err)
			}
		})
		if connected {
			return nil
		}
		f := os.NewFile(uintptr(fd), "late")
		defer f.Close()
		c, err := net.FileConn(f)
		if err != nil {
			t.Fatal(err)
		}
		return bound(t, c.(*net.TCPConn))
	}
}

// What was opened for one sandbox must not reach the next one of the slot; who
// comes after is served.
func TestCut(t *testing.T) {
	w := newWorld(t, Config{})
	client, guest := w.pair(t)
	send(t, client, "x")
	wantRead(t, guest, "x")
	w.target.Cut()
	wantReset(t, client)
	wantReset(t, guest)
	client, guest = w.pair(t)
	send(t, client, "x")
	wantRead(t, guest, "x")
	if s := w.target.Stats(); s.Ended[Cut] != 1 || s.Open != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestAddressThatComesLater(t *testing.T) {
	ns := nettest.Netns(t)
	nettest.SetUp(t, ns, "lo", true)
	w := newWorld(t, Config{})
	at := netip.MustParseAddrPort("10.12.0.5:20000")
	if _, err := w.engine.Listen(ListenConfig{Netns: ns, Addr: at, To: w.target}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Fatal("without the address:", err)
	}
	if _, err := w.engine.Listen(ListenConfig{Netns: ns, Addr: at, FreeBind: true, To: w.target}); err != nil {
		t.Fatal(err)
	}
	var client net.Conn
	nettest.In(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("10.12.0.5/32")
		if err == nil {
			err = netlink.AddrAdd(lo, addr)
		}
		if err == nil {
			client, err = net.Dial("tcp4", at.String())
		}
		return err
	})
	defer client.Close()
	guest, err := w.backend.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	bound(t, guest)
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	wantRead(t, guest, "x")
}

// A guest that is stopped answers nothing itself, and its kernel does: the
// connection outlives the pause, however short the timeouts are.
func TestPausedPeer(t *testing.T) {
	t.Parallel() // it sleeps
	w := newWorld(t, Config{KeepAlive: time.Second, UserTimeout: leastUserTimeout, Buffer: 64 << 10})
	reader := exec.Command("sh", "-c", "exec cat >/dev/null <&3")
	client := w.dial(t)
	guest, err := w.backend.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	f, err := guest.File()
	if err != nil {
		t.Fatal(err)
	}
	guest.Close()
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil { // cat knows no other
		t.Fatal(err)
	}
	reader.ExtraFiles = []*os.File{f}
	if err := reader.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := reader.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const size = 8 << 20
	done := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, size))
		done <- errors.Join(err, client.CloseWrite())
	}()
	nettest.Eventually(t, "the reader's side is full", func() bool {
		rows := w.engine.Connections(nil)
		return len(rows) == 1 && rows[0].Held[Client] > 0
	})
	time.Sleep(2*leastUserTimeout + time.Second)
	if err := reader.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error("the writer:", err)
	}
	if err := reader.Wait(); err != nil {
		t.Error(err)
	}
	nettest.Eventually(t, "the connection ends in order", func() bool { return w.target.Stats().Ended[ClientEnded] == 1 })
	if n := w.target.Stats().Bytes[Client]; n != size {
		t.Errorf("%d bytes came through, want %d", n, size)
	}
}

// Both legs of a connection that lasts have what ends one whose peer vanished.
func TestOptions(t *testing.T) {
	w := newWorld(t, Config{KeepAlive: 7 * time.Second, UserTimeout: 11 * time.Second})
	client, guest := w.pair(t)
	send(t, client, "x")
	wantRead(t, guest, "x")
	want := []int{1, 7, 7, probeCount, 11000}
	for _, side := range []Side{Client, Backend} {
		var got []int
		nettest.Eventually(t, "the options of the "+side.String(), func() bool {
			got = w.options(side)
			return slices.Equal(got, want)
		})
	}
}

func (w *world) options(s Side) (got []int) {
	w.engine.each(func(l *loop) {
		for _, c := range l.slots {
			if c.state != stateOpen {
				continue
			}
			for _, o := range [][2]int{
				{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
				{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
			} {
				v, _ := unix.GetsockoptInt(int(c.legs[s].fd), o[0], o[1]) // what it says is compared
				got = append(got, v)
			}
		}
	})
	return got
}

// A backend that speaks first is heard, and a large answer after a small question
// comes whole, by copying and by splicing.
func TestSizes(t *testing.T) {
	w := newWorld(t, Config{})
	for _, size := range []int{1, 100, bufferSize - 1, bufferSize, bufferSize + 1, 1 << 20, 9<<20 + 7} {
		client, guest := w.pair(t)
		data := bytes.Repeat([]byte{byte(size), 1, 2, 3, 5, 7, 11}, size/7+1)[:size]
		go func() {
			_, _ = guest.Write(data)
			_ = guest.CloseWrite()
		}()
		got, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d came, %v, or others", size, len(got), err)
		}
		client.Close()
	}
}
