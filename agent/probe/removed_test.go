package probe

import (
	"context"
	"encoding/binary"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/nlsafe"
)

// hearRemovals runs a watch for removals of one namespace.
func hearRemovals(t *testing.T, p *Probe, ns string, d netns.Device) <-chan netns.Device {
	t.Helper()
	conn, err := nlsafe.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	id, err := nsidOf(conn, ns)
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.ListenRemovals()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	removed, ended := make(chan netns.Device, 100), make(chan error)
	go func() {
		ended <- r.Run(ctx, func(got netns.NSID) (netns.Cookie, bool) { return d.Netns, got == id },
			func(gone netns.Device, all bool) {
				if !all {
					removed <- gone
				}
			})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		r.Close()
	})
	return removed
}

// Whoever takes filters of ours away, and however, is heard at once, and Attach
// puts them back. Our own comings and goings are not told.
func TestRemovedHooksComeBack(t *testing.T) {
	t.Parallel()
	p := load(t)
	ns, d, _ := tap(t)
	removed := hearRemovals(t, p, ns, d)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		take func(l netlink.Link) error
	}{
		{"one by its handle", func(netlink.Link) error {
			return netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: p.hooks.filterAttrs(d, 1)})
		}},
		{"all of a priority", func(netlink.Link) error {
			attrs := p.hooks.filterAttrs(d, 0)
			attrs.Handle = 0
			return netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: attrs})
		}},
		{"the qdisc", func(netlink.Link) error { return netlink.QdiscDel(clsact(d)) }},
		{"ours, by its own kind", func(netlink.Link) error { return p.hooks.removeFilters(d) }},
		{"another takes the handle", func(netlink.Link) error {
			thief := hooks{dir: p.hooks.dir, owner: p.hooks.owner ^ 1<<40} // whose key is the same
			return thief.replaceFilter(d, 0, p.tap.Programs[directions[1].name], false)
		}},
	} {
		nettest.In(t, ns, func() error {
			l, err := netlink.LinkByIndex(int(d.Ifindex))
			if err != nil {
				return err
			}
			return tt.take(l)
		})
		select {
		case got := <-removed:
			if got != d {
				t.Errorf("%s: heard of %+v, want %+v", tt.name, got, d)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: nothing was heard", tt.name)
		}
		if stands, err := p.Stands(ns, d); stands || err != nil {
			t.Errorf("%s: the hooks stand: %v, %v", tt.name, stands, err)
		}
		if err := p.Attach(ns, d, "tap0"); err != nil {
			t.Fatal(err)
		}
		if stands, err := p.Stands(ns, d); !stands || err != nil {
			t.Errorf("%s: put back, the hooks stand: %v, %v", tt.name, stands, err)
		}
		_, f := atDevice(t, ns, d)
		equal(t, "filters", f, "tapwatch_rx", "tapwatch_tx")
		drain(removed) // both directions are told
	}
	if err := p.Detach(ns, d); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stands(ns, d); err == nil {
		t.Error("a device without hooks is not told from one with")
	}
	other := load(t) // a mark, behind which nothing of ours can come
	if err := other.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-removed:
		t.Errorf("our own detaching was told: %+v", got)
	case <-time.After(100 * time.Millisecond):
	}
}

func drain(c <-chan netns.Device) {
	for {
		select {
		case <-c:
		default:
			return
		}
	}
}

func nsidOf(conn *nlsafe.Conn, ns string) (netns.NSID, error) {
	f, err := os.Open(netns.Path(ns))
	if err != nil {
		return netns.NoNSID, err
	}
	defer f.Close()
	return netns.AssignNSID(conn, f)
}

// TCX links that another detached are put back as well.
func TestDetachedTCXComesBack(t *testing.T) {
	if haveTCX() != nil {
		return // there is none on this kernel
	}
	t.Parallel()
	p, err := Load(Config{HooksDir: t.TempDir() + "/hooks", Mode: ModeTCX})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ns, d, _ := tap(t)
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if stands, err := p.Stands(ns, d); !stands || err != nil {
		t.Errorf("the hooks stand: %v, %v", stands, err)
	}
	if err := p.device(d).links[0].Detach(); err != nil {
		t.Fatal(err)
	}
	if stands, err := p.Stands(ns, d); stands || err != nil {
		t.Errorf("with one detached, the hooks stand: %v, %v", stands, err)
	}
	if err := p.Attach(ns, d, "tap0"); err != nil {
		t.Fatal(err)
	}
	if stands, err := p.Stands(ns, d); !stands || err != nil {
		t.Errorf("put back, the hooks stand: %v, %v", stands, err)
	}
}

func TestRemoves(t *testing.T) {
	const o Owner = 0xabcdef123456
	ingress, egress := directions[0].parent, directions[1].parent
	named := func(name string) []byte {
		return nlsafe.AppendAttr(nil, unix.TCA_OPTIONS, nlsafe.AppendAttr(nil, 7, append([]byte(name), 0)))
	}
	for _, tt := range []struct {
		name                     string
		typ                      uint16
		handle, parent, priority uint32
		attrs                    []byte
		want                     bool
	}{
		{"clsact", unix.RTM_DELQDISC, clsactHandle, netlink.HANDLE_CLSACT, 0, nil, true},
		{"another qdisc", unix.RTM_DELQDISC, 0x8001_0000, netlink.HANDLE_ROOT, 0, nil, false},
		{"clsact comes", unix.RTM_NEWQDISC, clsactHandle, netlink.HANDLE_CLSACT, 0, nil, false},
		{"our filter", unix.RTM_DELTFILTER, o.handle(), egress, 1, nil, true},
		{"another's filter", unix.RTM_DELTFILTER, 1, egress, 1, nil, false},
		{"our priority", unix.RTM_DELTFILTER, 0, ingress, 1, nil, true},
		{"all priorities", unix.RTM_DELTFILTER, 0, ingress, 0, nil, true},
		{"another priority", unix.RTM_DELTFILTER, 0, ingress, 2, nil, false},
		{"another parent", unix.RTM_DELTFILTER, o.handle(), netlink.HANDLE_ROOT, 1, nil, false},
		{"our filter comes", unix.RTM_NEWTFILTER, o.handle(), ingress, 1, named(label{program: "tapwatch_rx", owner: o}.String()), false},
		{"our handle is taken", unix.RTM_NEWTFILTER, o.handle(), ingress, 1, named("foreign"), true},
		{"another's filter comes", unix.RTM_NEWTFILTER, 1, ingress, 1, named("foreign"), false},
	} {
		body := make([]byte, sizeofTcmsg)
		for at, v := range map[int]uint32{tcmsgIfindex: 7, tcmsgHandle: tt.handle, tcmsgParent: tt.parent, tcmsgInfo: tt.priority<<priorityShift | 3} {
			binary.NativeEndian.PutUint32(body[at:], v)
		}
		if i, got := removes(tt.typ, slices.Concat(body, tt.attrs), o); got != tt.want || (got && i != 7) {
			t.Errorf("%s: %v, of device %d", tt.name, got, i)
		}
	}
	if _, ok := removes(unix.RTM_DELTFILTER, make([]byte, sizeofTcmsg-1), o); ok {
		t.Error("half a message is taken for one")
	}
}
