package probe

import (
	"strconv"
	"testing"

	"tapwatch/internal/nettest"
)

// A namespace without a name is cleaned too, by way of a process in it.
func TestCleanupWithoutName(t *testing.T) {
	t.Parallel()
	killed := load(t)
	ns := "/proc/" + strconv.Itoa(nettest.WithFiles(t).Process.Pid) + "/ns/net"
	nettest.Tap(t, ns, "tap0")
	d := nettest.Device(t, ns, "tap0")
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	kill(t, killed)
	if c, err := Cleanup(killed.hooks.dir); c.Own != 1 || err != nil {
		t.Errorf("cleaned %+v, %v; want 1 device", c, err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs", q)
	equal(t, "filters", f)
}
