package scale

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/sandbox/network"
)

// foreign is another's hook on the receiving side of a slot's tap.
type foreign struct {
	name string
	put  func(t *testing.T, prog *ebpf.Program, dev int) error
}

func clsact(dev int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: dev, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
}

func filterAt(priority uint16) func(*testing.T, *ebpf.Program, int) error {
	return func(_ *testing.T, prog *ebpf.Program, dev int) error {
		if err := netlink.QdiscAdd(clsact(dev)); err != nil {
			return err
		}
		return netlink.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: dev, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: priority, Protocol: unix.ETH_P_ALL},
			Fd:          prog.FD(), Name: "foreign", DirectAction: true,
		})
	}
}

var foreigns = []foreign{
	{"an empty clsact", func(_ *testing.T, _ *ebpf.Program, dev int) error { return netlink.QdiscAdd(clsact(dev)) }},
	{"a filter at priority 1", filterAt(1)},
	{"a filter at priority 49152", filterAt(49152)},
	{"a TCX program", func(t *testing.T, prog *ebpf.Program, dev int) error {
		l, err := link.AttachTCX(link.TCXOptions{Interface: dev, Program: prog, Attach: ebpf.AttachTCXIngress})
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}},
}

// TestForeignHooksOutliveTheAgent puts another's hooks on taps before the built
// agent comes, which is then killed, started again, ended, started and killed, and
// cleaned up after. Whatever it does, they stay and see every frame.
func TestForeignHooksOutliveTheAgent(t *testing.T) {
	bin := build(t)
	f := makeFleet(t, len(foreigns), len(foreigns))
	counts := make([]*ebpf.Map, len(foreigns))
	for i, c := range foreigns {
		var prog *ebpf.Program
		prog, counts[i] = counter(t)
		f.onTap(t, i, func(dev netlink.Link) error { return c.put(t, prog, dev.Attrs().Index) })
	}
	check := func(when string) {
		t.Helper()
		for i, c := range foreigns {
			qdisc := false
			f.onTap(t, i, func(dev netlink.Link) error {
				qdiscs, err := netlink.QdiscList(dev)
				for _, q := range qdiscs {
					qdisc = qdisc || q.Type() == "clsact"
				}
				return err
			})
			if i == 0 {
				if !qdisc {
					t.Errorf("%s: %s has gone", when, c.name)
				}
				continue
			}
			before := counted(t, counts[i])
			for range 5 {
				if _, err := f.taps[i].Write(frame()); err != nil {
					t.Fatal(err)
				}
			}
			if n := counted(t, counts[i]) - before; n != 5 {
				t.Errorf("%s: %s saw %d frames of 5", when, c.name, n)
			}
		}
	}
	start := func() *watcher {
		w := watch(t, bin, f.dir)
		w.hookedAll(f.n)
		return w
	}
	check("before the agent")
	w := start()
	check("attached")
	w.p.Kill()
	check("killed")
	w = start()
	check("started again")
	w.p.Stop(t)
	check("ended")
	w = start()
	w.p.Kill()
	if out, err := exec.CommandContext(t.Context(), bin, "cleanup", "--run-dir", string(f.dir)).CombinedOutput(); err != nil {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	check("cleaned up")
	for i := range foreigns {
		f.onTap(t, i, func(dev netlink.Link) error {
			for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
				filters, err := netlink.FilterList(dev, parent)
				if err != nil {
					return err
				}
				for _, filter := range filters {
					if b, ok := filter.(*netlink.BpfFilter); ok && strings.HasPrefix(b.Name, "tapwatch") {
						t.Errorf("%s is left beside %s", b.Name, foreigns[i].name)
					}
				}
			}
			return nil
		})
	}
}

// onTap does something to a slot's tap inside its namespace.
func (f *fleet) onTap(t *testing.T, i int, fn func(netlink.Link) error) {
	t.Helper()
	s := network.Slot{Index: i + 1}
	err := netns.Do(s.Netns(), func() error {
		dev, err := netlink.LinkByName(s.Tap())
		if err != nil {
			return err
		}
		return fn(dev)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counter is a program that counts the frames that it sees, and ends the chain.
func counter(t *testing.T) (*ebpf.Program, *ebpf.Map) {
	t.Helper()
	count, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { count.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, count.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), asm.Return(), // TC_ACT_OK, TCX_PASS
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	return prog, count
}

func counted(t *testing.T, count *ebpf.Map) (n uint64) {
	t.Helper()
	if err := count.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n
}
