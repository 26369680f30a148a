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
	if n, err := Cleanup(killed.hooks.dir); n != 1 || err != nil {
		t.Errorf("cleaned %d devices, %v; want 1", n, err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs", q)
	equal(t, "filters", f)
}
