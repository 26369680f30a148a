package scale

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// fleet is the slots of a host. The first of them are bound: this process is
// their VMM and their relay.
type fleet struct {
	n      int
	host   int // taps beside the slots, in the agent's own namespace
	dir    registry.Dir
	taps   []*os.File
	relays []net.Listener
	vmms   []ownVMM // of slots whose VMM is not this process
}

// ownVMM is a process that is the VMM of one slot. Once letGo is closed it holds
// the tap no more.
type ownVMM struct {
	pid   int
	letGo io.Closer
}

// makeFleet makes n slots, several at a time, and binds the first of them.
func makeFleet(t testing.TB, n, bound int) *fleet {
	t.Helper()
	f := makeFleetIn(t, runDir(t), n, bound)
	t.Cleanup(func() { f.remove(t) })
	return f
}

// runDir is a run directory in memory.
func runDir(t testing.TB) registry.Dir {
	t.Helper()
	dir, err := os.MkdirTemp(registry.DefaultDir, "scale")
	if err != nil {
		t.Fatal(err)
	}
	return registry.Dir(dir)
}

func makeFleetIn(t testing.TB, dir registry.Dir, n, bound int) *fleet {
	t.Helper()
	nettest.NeedRoot(t)
	f := &fleet{n: n, dir: dir, taps: make([]*os.File, bound), relays: make([]net.Listener, bound), vmms: make([]ownVMM, bound)}
	start := time.Now()
	if err := each(n, func(i int) error { return network.Create(network.Slot{Index: i + 1}) }); err != nil {
		t.Fatal(err)
	}
	if err := each(bound, f.bind); err != nil {
		t.Fatal(err)
	}
	// The proxy, which nobody calls: else every path of the host is broken.
	proxy, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:49983")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	t.Logf("%d slots, %d of them bound, made in %s", n, bound, time.Since(start).Round(time.Millisecond))
	return f
}

// each runs fn for 0 to n-1, four at a time.
func each(n int, fn func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(4)
	for i := range n {
		g.Go(func() error { return fn(i) })
	}
	return g.Wait()
}

// bind makes this process the VMM and the relay of a slot.
func (f *fleet) bind(i int) error {
	s := network.Slot{Index: i + 1}
	me, err := proc.ProcessOf(os.Getpid())
	if err != nil {
		return err
	}
	r := s.Record(me)
	if r.Cookie, err = netns.CookieOf(s.Netns()); err != nil {
		return err
	}
	err = netns.Do(s.Netns(), func() error {
		f.relays[i], err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(s.VpeerIP(), 49983)))
		return err
	})
	if err != nil {
		return err
	}
	if f.taps[i], err = openTap(s); err != nil {
		return err
	}
	r.Sandbox = &registry.Sandbox{ID: fmt.Sprintf("i%06d", i), Name: "scale", TemplateID: "base", State: registry.Running,
		VMM: "test", VMMProcess: me, Shape: registry.Relay, CreatedAt: time.Now()}
	return f.dir.Put(r)
}

// openTap attaches to a slot's tap as a VMM does.
func openTap(s network.Slot) (f *os.File, err error) {
	err = netns.Do(s.Netns(), func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		ifr, err := unix.NewIfreq(s.Tap())
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			unix.Close(fd)
			return fmt.Errorf("attach to %s in %s: %w", s.Tap(), s.Netns(), err)
		}
		f = os.NewFile(uintptr(fd), s.Netns())
		return nil
	})
	return f, err
}

// remove takes the slots away. Without their names the kernel ends them by the
// batch, which is far faster than one by one.
func (f *fleet) remove(t testing.TB) {
	t.Helper()
	for i := range f.taps {
		if f.taps[i] != nil {
			f.taps[i].Close()
		}
		if f.relays[i] != nil {
			f.relays[i].Close()
		}
		if err := f.dir.Remove(i + 1); err != nil {
			t.Error(err)
		}
	}
	for i := range f.n {
		if err := netns.Delete(network.Slot{Index: i + 1}.Netns()); err != nil {
			t.Error(err)
		}
	}
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		left, err := links()
		if err != nil {
			t.Fatal(err)
		}
		if left <= 1 { // lo
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d links are left: something keeps their namespaces", left)
		}
	}
}

func links() (int, error) {
	ls, err := netlink.LinkList()
	if errors.Is(err, netlink.ErrDumpInterrupted) { // they are going while we count
		err = nil
	}
	return len(ls), err
}
