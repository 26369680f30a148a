package probe

import (
	"cmp"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// bystander writes a link's state in a namespace of its own, over and over, as
// a launcher does that has nothing to do with us: each write takes RTNL. stop
// returns the times that the writes took, in order of length.
func bystander(b *testing.B) (stop func() []time.Duration) {
	b.Helper()
	ns := nettest.Netns(b)
	nettest.Tap(b, ns, "tap0")
	end, ended := make(chan struct{}), make(chan []time.Duration)
	go func() {
		var took []time.Duration
		_ = netns.Do(ns, func() error {
			l, err := netlink.LinkByName("tap0")
			if err != nil {
				return err
			}
			for mtu := 1400; ; mtu++ {
				select {
				case <-end:
					return nil
				default:
				}
				start := time.Now()
				if err := netlink.LinkSetMTU(l, 1400+mtu%100); err != nil {
					return err
				}
				took = append(took, time.Since(start))
				time.Sleep(200 * time.Microsecond)
			}
		})
		slices.Sort(took)
		ended <- took
	}()
	return func() []time.Duration {
		close(end)
		return <-ended
	}
}

func report(b *testing.B, took []time.Duration, what string) {
	if len(took) == 0 {
		b.Fatal("nothing was measured")
	}
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) }
	b.ReportMetric(us(took[len(took)/2]), what+"-p50-us")
	b.ReportMetric(us(took[len(took)*99/100]), what+"-p99-us")
	b.ReportMetric(us(took[len(took)-1]), what+"-max-us")
}

// BenchmarkRTNL is how long another's write to a link waits while 1,000 devices
// are hooked, and while their namespaces are deleted: in each mode, and without
// any hooks, since the kernel itself holds RTNL for long when it deletes many.
// An operation is both; it takes seconds, and of tcx a minute.
func BenchmarkRTNL(b *testing.B) {
	for _, mode := range append([]Mode{""}, modesHere()...) {
		b.Run(cmp.Or(string(mode), "none"), func(b *testing.B) {
			for b.Loop() {
				rtnl(b, mode, 1000)
			}
		})
	}
}

func rtnl(b *testing.B, mode Mode, n int) {
	names, devices := field(b, n)
	gone := marker(b, names[n-1])
	if mode != "" {
		p, err := Load(Config{HooksDir: b.TempDir() + "/hooks", Mode: mode})
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		stop, start := bystander(b), time.Now()
		attach(b, p, names, devices)
		b.ReportMetric(time.Since(start).Seconds(), "attach-s")
		report(b, stop(), "attach-rtnl")
	}
	stop, start := bystander(b), time.Now()
	for _, ns := range names {
		if err := netns.Delete(ns); err != nil {
			b.Fatal(err)
		}
	}
	for !gone() {
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(time.Since(start).Seconds(), "delete-s")
	report(b, stop(), "delete-rtnl")
}

// marker tells when a namespace's devices have gone: some time after its name.
// The kernel takes namespaces down in the order in which they were deleted.
func marker(b *testing.B, ns string) (gone func() bool) {
	b.Helper()
	hub := nettest.Netns(b)
	host := ""
	nettest.In(b, hub, func() error { host = nettest.Veth(b, ns); return nil })
	return func() (gone bool) {
		nettest.In(b, hub, func() error {
			_, err := netlink.LinkByName(host)
			gone = errors.As(err, &netlink.LinkNotFoundError{})
			return nil
		})
		return gone
	}
}
