package probe

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// field makes n namespaces with a tap each, as idle slots are.
func field(b *testing.B, n int) (names []string, devices []netns.Device) {
	b.Helper()
	for range n {
		ns := nettest.Netns(b)
		nettest.Tap(b, ns, "tap0")
		names, devices = append(names, ns), append(devices, nettest.Device(b, ns, "tap0"))
	}
	return names, devices
}

// BenchmarkAttach hooks and unhooks 100 devices in each mode, which is an operation.
func BenchmarkAttach(b *testing.B) {
	for _, mode := range modesHere() {
		b.Run(string(mode), func(b *testing.B) { benchmarkAttach(b, mode, 100) })
	}
}

func benchmarkAttach(b *testing.B, mode Mode, n int) {
	p, err := Load(Config{HooksDir: b.TempDir() + "/hooks", Mode: mode})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	names, devices := field(b, n)
	var attaching, detaching time.Duration
	for b.Loop() {
		start := time.Now()
		attach(b, p, names, devices)
		attaching += time.Since(start)
		start = time.Now()
		for i, d := range devices {
			if err := p.Detach(names[i], d); err != nil {
				b.Fatal(err)
			}
		}
		detaching += time.Since(start)
	}
	per := float64(b.N * n * 1000)
	b.ReportMetric(float64(attaching)/per, "attach-us/device")
	b.ReportMetric(float64(detaching)/per, "detach-us/device")
}

func attach(b *testing.B, p *Probe, names []string, devices []netns.Device) {
	b.Helper()
	for i, d := range devices {
		if err := p.Attach(names[i], d, "tap0"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProgram is what a frame costs in the programs for one device, by
// kind, and an empty program to compare with: 1e6 runs in the kernel each.
func BenchmarkProgram(b *testing.B) {
	nettest.NeedRoot(b)
	p, err := Load(Config{HooksDir: b.TempDir() + "/hooks", Mode: ModeTC})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	if err != nil {
		b.Fatal(err)
	}
	defer empty.Close()
	mac := []byte{2, 0, 0, 0, 0, 1}
	data := segment{src: guestIP, dst: hostIP, sport: 49983, dport: 40000, flags: flagACK, data: "hello"}
	syn := segment{src: hostIP, dst: guestIP, sport: 40000, dport: 49983, flags: flagSYN}
	frames := map[string][]byte{
		"data": ethernet(mac, mac, unix.ETH_P_IP, data.packet()),
		"syn":  ethernet(mac, mac, unix.ETH_P_IP, syn.packet()),
		"arp":  ethernet(mac, mac, unix.ETH_P_ARP, arp(2, mac, guestIP, mac, hostIP)),
		"ipv6": ethernet(mac, mac, unix.ETH_P_IPV6, ipv6()),
	}
	// Runs are on the loopback of the present namespace.
	self, err := netns.Current()
	if err != nil {
		b.Fatal(err)
	}
	lo := netns.Device{Netns: self, Ifindex: 1}
	for _, registered := range []bool{true, false} {
		if registered {
			err = p.register(lo, ModeTC)
		} else {
			p.forget(lo)
		}
		if err != nil {
			b.Fatal(err)
		}
		for kind, frame := range frames {
			prog := p.tap.Programs[directions[0].name]
			if kind == "syn" {
				prog = p.tap.Programs[directions[1].name]
			}
			b.Run(fmt.Sprintf("%s/registered=%v", kind, registered), func(b *testing.B) { runProgram(b, prog, frame) })
		}
	}
	b.Run("empty", func(b *testing.B) { runProgram(b, empty, frames["data"]) })
}

func runProgram(b *testing.B, prog *ebpf.Program, frame []byte) {
	var sum time.Duration
	for b.Loop() {
		_, took, err := prog.Benchmark(frame, 1_000_000, nil)
		if err != nil {
			b.Fatal(err)
		}
		sum += took
	}
	b.ReportMetric(float64(sum.Nanoseconds())/float64(b.N), "ns/frame")
	b.ReportMetric(0, "ns/op")
}
