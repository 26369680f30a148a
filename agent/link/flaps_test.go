package link

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/nlsafe"
)

// A thousand taps flap while the socket has room for a few events only: the
// metrics say that events were lost, the state is marked as in doubt until it was
// read again, and then every flap has been told, as the kernel counted it.
func TestManyFlapsThroughASmallBuffer(t *testing.T) {
	const spaces, each, flaps = 4, 250, 3
	w := start(t, Config{Buffer: 4096, Backlog: 1}, false)
	var names []string
	var cookies []netns.Cookie
	for range spaces {
		ns := nettest.Netns(t)
		makeTaps(t, ns, each)
		names, cookies = append(names, ns), append(cookies, w.add(ns))
	}
	nettest.Eventually(t, "every tap found", func() bool {
		return len(w.In(cookies[spaces-1])) == each+1 && w.Stats().Synced
	})
	before := w.Stats()
	dropped := drops(t)
	w.mu.Lock() // nothing is taken from the watcher: it stops reading
	unlock := sync.OnceFunc(w.mu.Unlock)
	t.Cleanup(unlock)
	for n := 0; n < flaps || drops(t) == dropped; n++ { // the kernel gathers events while it is busy
		for _, ns := range names {
			flapTaps(t, ns, each)
		}
	}
	doubted := make(chan bool, 1)
	go func() {
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			if s := w.Stats(); s.Overruns > before.Overruns && !s.Synced {
				doubted <- true
				return
			}
		}
		doubted <- false
	}()
	unlock()
	if !<-doubted {
		t.Error("never marked as in doubt")
	}
	nettest.Eventually(t, "in sync again", func() bool { return w.Stats().Synced })
	if s := w.Stats(); s.Overruns == before.Overruns || s.Resyncs == before.Resyncs {
		t.Errorf("no overrun, no resync: %+v", s)
	}
	told := func() (ups, downs map[netns.Device]uint32) {
		ups, downs = map[netns.Device]uint32{}, map[netns.Device]uint32{}
		for _, c := range cookies {
			for _, change := range w.of(c) {
				if change.New == nil {
					continue
				}
				if change.Old == nil {
					ups[change.Key()], downs[change.Key()] = change.New.UpCount, change.New.DownCount
				}
				ups[change.Key()] += change.Ups()
				downs[change.Key()] += change.Downs()
			}
		}
		return ups, downs
	}
	for i, ns := range names {
		kernel := countedByKernel(t, ns)
		if len(kernel) != each {
			t.Fatalf("%d taps in %s, want %d", len(kernel), ns, each)
		}
		nettest.Eventually(t, "every flap told", func() bool {
			ups, downs := told()
			for index, l := range kernel {
				k := netns.Device{Netns: cookies[i], Ifindex: index}
				if ups[k] != l.UpCount || downs[k] != l.DownCount || l.UpCount < flaps {
					return false
				}
			}
			return true
		})
	}
}

// drops counts what netlink sockets of the host's namespace have lost.
func drops(t *testing.T) (n int) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/netlink")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
		if f := strings.Fields(line); len(f) == 10 && f[0] != "sk" {
			lost, err := strconv.Atoi(f[8])
			if err != nil {
				t.Fatal(err)
			}
			n += lost
		}
	}
	return n
}

// makeTaps makes persistent taps that nobody holds. They are up: else Linux 6.1
// tells nothing of their flaps.
func makeTaps(t testing.TB, ns string, n int) {
	t.Helper()
	nettest.In(t, ns, func() error { return makeTapsFrom(0, n) })
}

// makeTapsFrom makes n taps in the calling thread's namespace.
func makeTapsFrom(first, n int) error {
	for i := first; i < first+n; i++ {
		f, err := openTap(i)
		if err != nil {
			return err
		}
		err = unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1)
		f.Close()
		if err != nil {
			return err
		}
		l, err := netlink.LinkByName(tapName(i))
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	return nil
}

func tapName(i int) string { return fmt.Sprintf("tap%d", i) }

func flapTaps(t *testing.T, ns string, n int) {
	t.Helper()
	nettest.In(t, ns, func() error {
		for i := range n {
			f, err := openTap(i)
			if err != nil {
				return err
			}
			f.Close()
		}
		return nil
	})
}

// openTap attaches to a tap of the calling thread's namespace, or makes it.
func openTap(i int) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "tap")
	ifr, err := unix.NewIfreq(tapName(i))
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		f.Close()
	}
	return f, err
}

// countedByKernel reads the taps of a namespace from inside it.
func countedByKernel(t *testing.T, ns string) map[netns.Ifindex]Link {
	t.Helper()
	all := map[netns.Ifindex]Link{}
	nettest.In(t, ns, func() error {
		conn, err := nlsafe.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		ms, err := conn.Dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg))
		if err != nil {
			return err
		}
		for _, m := range ms {
			l, err := parseLink(m.Body)
			if err != nil {
				return err
			}
			if l.Kind == "tun" {
				all[l.Ifindex] = l
			}
		}
		return nil
	})
	return all
}
