package probe

import (
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// what stands at the device: qdiscs but the default one, and filters by name.
func atDevice(t *testing.T, ns string, d netns.Device) (qdiscs, filters []string) {
	t.Helper()
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByIndex(int(d.Ifindex))
		if err != nil {
			return err
		}
		qs, err := netlink.QdiscList(l)
		if err != nil {
			return err
		}
		for _, q := range qs {
			if q.Type() == "clsact" || q.Type() == "ingress" {
				qdiscs = append(qdiscs, q.Type())
			}
		}
		for _, dir := range directions {
			fs, err := netlink.FilterList(l, dir.parent)
			if err != nil {
				return err
			}
			for _, f := range fs {
				if b, ok := f.(*netlink.BpfFilter); ok {
					name, _, _ := strings.Cut(b.Name, ",") // of ours: the program's
					filters = append(filters, name)
				} else {
					filters = append(filters, f.Type())
				}
			}
		}
		return nil
	})
	return qdiscs, filters
}

func foreignFilter(t *testing.T, ns string, d netns.Device) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type:         ebpf.SchedCLS,
		License:      "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	nettest.In(t, ns, func() error {
		return netlink.FilterReplace(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: int(d.Ifindex), Parent: netlink.HANDLE_MIN_EGRESS,
				Handle: 1, Priority: 7, Protocol: unix.ETH_P_ALL},
			Fd: prog.FD(), Name: "foreign", DirectAction: true,
		})
	})
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
}

func TestDetachLeavesNothing(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	for range 2 { // the second attach must not add filters
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
	}
	q, f := atDevice(t, ns, d)
	equal(t, "attached qdiscs", q, "clsact")
	equal(t, "attached filters", f, "tapwatch_rx", "tapwatch_tx")
	if err := p.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	q, f = atDevice(t, ns, d)
	equal(t, "qdiscs after detach", q)
	equal(t, "filters after detach", f)
	if err := p.Detach("twtest-no-such", d); err != nil {
		t.Errorf("detach from a namespace that is gone: %v", err)
	}
	kill(t, p)
	if _, err := os.Stat(p.hooks.dir); !os.IsNotExist(err) {
		t.Errorf("notes are left behind: %v", err)
	}
}

func TestForeignClsactStays(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	nettest.In(t, ns, func() error { return netlink.QdiscAdd(clsact(d)) })
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if err := p.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "the foreign, still empty qdisc", q, "clsact")
	equal(t, "filters", f)
}

func TestForeignFilterKeepsOurClsact(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	foreignFilter(t, ns, d)
	if err := p.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs", q, "clsact")
	equal(t, "filters", f, "foreign")
}

// A killed agent leaves filters, qdisc and note; Cleanup takes exactly those,
// and an agent of another run directory keeps its own.
func TestCleanupAfterKill(t *testing.T) {
	t.Parallel()
	killed, living := load(t), load(t)
	ns, d, _ := tap(t)
	if err := killed.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if err := living.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if c, err := Cleanup(killed.hooks.dir); c.Own != 0 || err != nil {
		t.Fatalf("cleaned %+v, %v, of an agent that lives", c, err)
	}
	kill(t, killed)
	if c, err := Cleanup(killed.hooks.dir); c.Own != 1 || err != nil {
		t.Fatalf("cleaned %+v, %v; want 1 device", c, err)
	}
	q, f := atDevice(t, ns, d)
	equal(t, "qdiscs", q, "clsact")
	equal(t, "filters of the living", f, "tapwatch_rx", "tapwatch_tx")
	if c, err := Cleanup(killed.hooks.dir); c.Own != 0 || err != nil {
		t.Errorf("second cleanup: %+v, %v", c, err)
	}
	if err := living.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	_, f = atDevice(t, ns, d)
	equal(t, "filters in the end", f)
}

// It is asked of one device, beside another that has what it has not.
func TestClsactKind(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	nettest.In(t, ns, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "kinds"}, PeerName: "other"})
	})
	d, other := nettest.Device(t, ns, "kinds"), nettest.Device(t, ns, "other")
	ingress := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: int(d.Ifindex), Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}}
	nettest.In(t, ns, func() error { return netlink.QdiscAdd(clsact(other)) })
	for _, step := range []struct {
		what string
		do   func() error
		want string
	}{
		{"nothing", func() error { return nil }, ""},
		{"clsact", func() error { return netlink.QdiscAdd(clsact(d)) }, "clsact"},
		{"clsact removed", func() error { return netlink.QdiscDel(clsact(d)) }, ""},
		{"ingress", func() error { return netlink.QdiscAdd(ingress) }, "ingress"},
		{"ingress removed", func() error { return netlink.QdiscDel(ingress) }, ""},
	} {
		nettest.In(t, ns, func() error {
			if err := step.do(); err != nil {
				return err
			}
			got, err := clsactKind(d)
			if err != nil || got != step.want {
				t.Errorf("%s: %q, %v; want %q", step.what, got, err, step.want)
			}
			return nil
		})
	}
}
