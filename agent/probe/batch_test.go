package probe

import (
	"maps"
	"testing"

	"tapwatch/internal/netns"
)

// Read by the batch or one by one, every device has what it has by itself; more
// devices than a batch holds are all there.
func TestAllCounters(t *testing.T) {
	p := load(t)
	ns, d, _ := tap(t)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	connect(t, ns, 49983)
	for i := range 3 * batchSize {
		if err := p.register(netns.Device{Netns: d.Netns, Ifindex: netns.Ifindex(1000 + i)}, ModeTC); err != nil {
			t.Fatal(err)
		}
	}
	want, err := p.Counters(d)
	if err != nil {
		t.Fatal(err)
	}
	if want.SYNs != 1 {
		t.Errorf("%d SYNs, want 1", want.SYNs)
	}
	var batch, single = map[netns.Device]Counters{}, map[netns.Device]Counters{}
	if err := p.AllCounters(func(d netns.Device, c Counters) { batch[d] = c }); err != nil {
		t.Fatal(err)
	}
	one := func(d netns.Device, c Counters) {
		c.Losses, c.Drops = batch[d].Losses, batch[d].Drops // added to both ways
		single[d] = c
	}
	if err := p.oneByOne(one); err != nil {
		t.Fatal(err)
	}
	if batch[d].SYNs != want.SYNs || len(batch) != 3*batchSize+1 {
		t.Errorf("%d devices, %d SYNs", len(batch), batch[d].SYNs)
	}
	delete(batch, d) // has traffic between the two
	delete(single, d)
	if !maps.Equal(batch, single) {
		t.Error("by the batch and one by one differ")
	}
	if _, ok := batch[netns.Device{Netns: d.Netns, Ifindex: 1000}]; !ok {
		t.Error("an idle device is left out")
	}
}
