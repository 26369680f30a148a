package scale

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/diagnose"
	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
	"tapwatch/internal/sandbox/network"
)

// perFact is how many slots each fact is made on.
const perFact = 10

// fact breaks a slot and returns when that is proven.
type fact struct {
	name, code string // the finding's; of several any will do
	prepare    func(b *testing.B, f *fleet, i int)
	make       func(b *testing.B, f *fleet, i int) time.Time
}

// BenchmarkFindings measures, on a host of 1,000 bound slots, how long after the
// fact that proves it each kind of break is told as a finding, by a reader of the
// agent's stream of events; and what the agent takes while nothing happens.
func BenchmarkFindings(b *testing.B) {
	f := makeFleet(b, 1_000, 1_000)
	for n, c := range facts {
		for i := range perFact {
			if c.prepare != nil {
				c.prepare(b, f, n*perFact+i)
			}
		}
	}
	w := watch(b, build(b), f.dir)
	w.until("ready", w.ready)
	problems := follow(b, w)
	time.Sleep(10 * time.Second) // what follows a start has ended
	for b.Loop() {
		before := w.cpu()
		time.Sleep(idleFor)
		b.ReportMetric(100*(w.cpu()-before).Seconds()/idleFor.Seconds(), "idle-cpu-%")
		var all []time.Duration
		for n, c := range facts {
			var took []time.Duration
			for i := range perFact {
				time.Sleep(time.Duration(37*i%100) * time.Millisecond) // in step with nothing of the agent's
				slot := n*perFact + i
				if d, ok := problems.after(network.Slot{Index: slot + 1}.Netns(), c.code, c.make(b, f, slot)); ok {
					took = append(took, d)
				} else {
					b.Errorf("%s of slot %d was not found, but %q", c.name, slot+1, problems.others(network.Slot{Index: slot + 1}.Netns()))
				}
			}
			if len(took) == 0 {
				continue
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, c.name+"-ms")
			b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, c.name+"-max-ms")
			all = append(all, took...)
		}
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "all-ms")
	}
}

// problems are the findings that came, with when this process heard of them.
type problems struct {
	mu sync.Mutex
	of map[string]time.Time // by namespace and code
}

func follow(b *testing.B, w *watcher) *problems {
	p := &problems{of: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- httpapi.Client{BaseURL: w.url}.Events(ctx, httpapi.OnlyNew, func(e path.Event, _ string) {
			if code, _, ok := strings.Cut(e.Text, " at "); ok && e.Kind == path.Problem {
				p.mu.Lock()
				p.of[e.Netns+" "+code] = time.Now()
				p.mu.Unlock()
			}
		})
	}()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return p
}

// after waits for a finding and returns how long after the fact it came.
func (p *problems) after(ns, code string, fact time.Time) (time.Duration, bool) {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		p.mu.Lock()
		for _, one := range strings.Fields(code) {
			if at, ok := p.of[ns+" "+one]; ok {
				p.mu.Unlock()
				return at.Sub(fact), true
			}
		}
		p.mu.Unlock()
	}
	return 0, false
}

// others are the findings that came of a namespace instead.
func (p *problems) others(ns string) (codes []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.of {
		if code, ok := strings.CutPrefix(k, ns+" "); ok {
			codes = append(codes, code)
		}
	}
	return codes
}

var facts = []fact{
	{"tap-down", "tap-down", nil, within(func(s network.Slot) error { return set(s.Tap(), netlink.LinkSetDown) })},
	{"tap-deleted", "tap-missing", child, within(func(s network.Slot) error { return set(s.Tap(), netlink.LinkDel) })},
	{"mtu", "mtu-mismatch", nil, within(func(s network.Slot) error {
		return set(s.Tap(), func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) })
	})},
	{"veth-down", "veth-down", nil, within(func(network.Slot) error { return set("eth0", netlink.LinkSetDown) })},
	{"rule", "rule-drops", nil, within(func(network.Slot) error { return drop() })},
	{"ip-forward-off", "ip-forward-off", forwarding, within(func(network.Slot) error { return forward("0") })},
	{"relay-closed", "relay-not-listening", nil, now(func(f *fleet, i int) error { return f.relays[i].Close() })},
	{"tap-closed", "vmm-not-attached", child, now(func(f *fleet, i int) error { return f.vmms[i].letGo.Close() })},
	{"vmm-killed", "vmm-exited", child, now(func(f *fleet, i int) error { return unix.Kill(f.vmms[i].pid, unix.SIGKILL) })},
	{"vmm-stopped", "vmm-stopped", child, now(func(f *fleet, i int) error { return unix.Kill(f.vmms[i].pid, unix.SIGSTOP) })},
	{"refused", "envd-refused", nil, refuse},
	{"unanswered", "envd-no-answer guest-hung guest-silent", nil, ignore},
}

// now makes a fact and says that it is so from here on.
func now(do func(f *fleet, i int) error) func(*testing.B, *fleet, int) time.Time {
	return func(b *testing.B, f *fleet, i int) time.Time {
		at := time.Now()
		if err := do(f, i); err != nil {
			b.Fatal(err)
		}
		return at
	}
}

// within makes a fact in the slot's namespace; it is one when the call returns.
func within(do func(s network.Slot) error) func(*testing.B, *fleet, int) time.Time {
	return func(b *testing.B, _ *fleet, i int) (at time.Time) {
		s := network.Slot{Index: i + 1}
		if err := netns.Do(s.Netns(), func() error { at = time.Now(); return do(s) }); err != nil {
			b.Fatal(err)
		}
		return at
	}
}

func set(name string, do func(netlink.Link) error) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return do(l)
}

func drop() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "benchmark"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}})
	return c.Flush()
}

func forward(value string) error {
	return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0)
}

// forwarding makes a slot's path one by DNAT, in a namespace that forwards.
func forwarding(b *testing.B, f *fleet, i int) {
	within(func(network.Slot) error { return forward("1") })(b, f, i)
	f.rebind(b, i, func(s *registry.Sandbox) { s.Shape = registry.DNAT })
}

// child gives a slot a VMM of its own: a process that holds the tap until it is told
// to let go, and lives on.
func child(b *testing.B, f *fleet, i int) {
	cmd := exec.CommandContext(context.Background(), "sh", "-c", "read x; exec 3>&-; exec sleep 1000")
	cmd.ExtraFiles = []*os.File{f.taps[i]}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL} // wherever this process ends
	letGo, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	f.taps[i].Close()
	p, err := proc.ProcessOf(cmd.Process.Pid)
	if err != nil {
		b.Fatal(err)
	}
	f.vmms[i] = ownVMM{p.PID, letGo}
	f.rebind(b, i, func(s *registry.Sandbox) { s.VMMProcess = p })
}

// refuse has the guest answer a SYN to envd's port with RST, which proves that
// nothing listens there.
func refuse(b *testing.B, f *fleet, i int) time.Time {
	syn := f.call(b, i)
	copy(syn[0:], []byte{2, 0}) // VIRTIO_NET_HDR_F_DATA_VALID: checksums were looked at
	eth, ip, tcp := syn[10:], syn[24:], syn[44:]
	dst := slices.Clone(eth[:6])
	copy(eth[:6], eth[6:12])
	copy(eth[6:12], dst)
	from := slices.Clone(ip[12:16])
	copy(ip[12:16], ip[16:20])
	copy(ip[16:20], from)
	port := slices.Clone(tcp[:2])
	copy(tcp[:2], tcp[2:4])
	copy(tcp[2:4], port)
	binary.BigEndian.PutUint32(tcp[8:], binary.BigEndian.Uint32(tcp[4:])+1)
	tcp[13] = 0x14 // RST, ACK
	at := time.Now()
	if _, err := f.taps[i].Write(syn); err != nil {
		b.Fatal(err)
	}
	return at
}

// ignore has the guest say something, and then not answer a SYN: when it has
// waited long enough, that is proven.
func ignore(b *testing.B, f *fleet, i int) time.Time {
	hello := make([]byte, 10+60) // struct virtio_net_hdr comes first
	copy(hello[10:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5})
	f.call(b, i)
	at := time.Now()
	for range 3 { // it lives
		if _, err := f.taps[i].Write(hello); err != nil {
			b.Fatal(err)
		}
	}
	return at.Add(diagnose.Patience)
}

// call opens a connection to the guest and returns its SYN as the guest reads it.
// That the guest has its address is known beforehand, so that nobody asks.
func (f *fleet) call(b *testing.B, i int) []byte {
	s := network.Slot{Index: i + 1}
	err := netns.Do(s.Netns(), func() error {
		l, err := netlink.LinkByName(s.Tap())
		if err != nil {
			return err
		}
		err = netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
			IP: net.IPv4(169, 254, 0, 21), HardwareAddr: net.HardwareAddr{2, 0xfc, 0, 0, 0, 5}})
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		b.Cleanup(func() { unix.Close(fd) })
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr("169.254.0.21").As4(), Port: 49983})
		if !errors.Is(err, unix.EINPROGRESS) {
			return err
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	frame := make([]byte, 2048)
	for {
		n, err := f.taps[i].Read(frame)
		if err != nil {
			b.Fatal(err)
		}
		if n >= 64 && frame[22] == 8 && frame[23] == 0 && frame[33] == unix.IPPROTO_TCP && frame[57]&0x12 == 2 {
			return frame[:n]
		}
	}
}

// rebind changes a slot's sandbox.
func (f *fleet) rebind(b *testing.B, i int, edit func(*registry.Sandbox)) {
	all, err := f.dir.List()
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range all {
		if r.Index == i+1 {
			edit(r.Sandbox)
			if err := f.dir.Put(r); err != nil {
				b.Fatal(err)
			}
		}
	}
}
