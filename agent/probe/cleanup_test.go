package probe

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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

// Hooks of a dead agent whose directory has gone are nobody's; those of a dead one
// whose directory is there wait for the next.
func TestCleanupOfOrphans(t *testing.T) {
	t.Parallel()
	orphan, waits, living := load(t), load(t), load(t)
	ns, d, _ := tap(t)
	for _, p := range []*Probe{orphan, waits, living} {
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
	}
	kill(t, orphan)
	kill(t, waits)
	if err := os.RemoveAll(orphan.hooks.dir); err != nil {
		t.Fatal(err)
	}
	c, err := cleanIn([]string{ns}, "")
	if err != nil || c.Own != 0 || c.Orphans != 1 || len(c.Left) != 2 {
		t.Fatalf("cleaned %+v, %v", c, err)
	}
	for _, l := range c.Left {
		if lives := l.Agent != nil; l.Devices != 1 || lives != (l.Owner == living.hooks.owner) || (!lives && l.Owner != waits.hooks.owner) {
			t.Errorf("left %s: %s", l.Owner, l)
		}
	}
	if err := living.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	if c, err := cleanIn([]string{ns}, waits.hooks.dir); err != nil || c.Own != 1 || len(c.Left) != 0 {
		t.Errorf("cleaned %+v, %v, of the directory itself", c, err)
	}
	_, f := atDevice(t, ns, d)
	equal(t, "filters in the end", f)
}

// The label of a filter tells that its owner made the qdisc too, also where the
// note of that has gone.
func TestCleanupOfAnOrphansClsact(t *testing.T) {
	t.Parallel()
	orphan := load(t)
	ns, d, _ := tap(t)
	if err := orphan.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	kill(t, orphan)
	if err := os.RemoveAll(orphan.hooks.dir); err != nil {
		t.Fatal(err)
	}
	if c, err := cleanIn([]string{ns}, t.TempDir()); err != nil || c.Orphans != 1 {
		t.Errorf("cleaned %+v, %v", c, err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs", q)
	equal(t, "filters", f)
}

// Filters of a version that named no owner are left, and said.
func TestCleanupLeavesWhatSaysNothing(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	nettest.In(t, ns, func() error {
		return errors.Join(netlink.QdiscAdd(clsact(d)), netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: int(d.Ifindex), Parent: netlink.HANDLE_MIN_INGRESS, Handle: 0x74771234, Priority: 1, Protocol: unix.ETH_P_ALL},
			Fd:          p.tap.Programs[directions[0].name].FD(), Name: directions[0].name, DirectAction: true,
		}))
	})
	c, err := cleanIn([]string{ns}, "")
	if err != nil || c.Own+c.Orphans != 0 || len(c.Left) != 1 || c.Left[0].Owner != 0 {
		t.Errorf("cleaned %+v, %v", c, err)
	}
	_, f := atDevice(t, ns, d)
	equal(t, "filters", f, "tapwatch_rx")
}
