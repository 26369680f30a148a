package drill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// What loses frames on their way into a guest that is well.
var dropFaults = []Fault{
	{
		Name: "tap-queue-full", What: "bursts of datagrams, more than the VMM reads in time",
		Hop: path.Tap, Expected: "tap-queue-full",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			const most = 5000 // the queue has 1,000 places
			return b.datagrams(ctx, most, time.Second)
		},
	},
	{
		Name: "tap-drops", What: "another's tc filter at the tap drops what is sent to UDP port 9",
		Hop: path.Tap, Expected: "tap-drops",
		Make: func(ctx context.Context, b *Box) (func() error, error) {
			if err := b.tap(dropDatagrams); err != nil {
				return nil, err
			}
			stop, err := b.datagrams(ctx, 3, 100*time.Millisecond)
			if err != nil {
				return nil, err
			}
			return func() error {
				return joinNotNil(stop(), b.tap(func(l netlink.Link) error { return netlink.FilterDel(dropFilter(l, 0)) }))
			}, nil
		},
	},
}

// discardPort is a port on which no guest listens.
const discardPort = 9

// datagrams sends the guest some, each time, from inside the namespace until undo.
func (b *Box) datagrams(ctx context.Context, some int, every time.Duration) (undo func() error, err error) {
	var conn net.Conn
	err = netns.Do(b.Slot.Netns(), func() (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "udp4", net.JoinHostPort(b.Slot.GuestIP().String(), strconv.Itoa(discardPort)))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("send to the guest: %w", err)
	}
	sending, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for sending.Err() == nil {
			for range some {
				_, _ = conn.Write([]byte("drill")) // a guest may answer that it does not listen
			}
			pause(sending, every)
		}
	}()
	return func() error { stop(); <-done; return conn.Close() }, nil
}

// dropFilter is a filter of somebody else's behind ours, with its program. The
// qdisc that it hangs in is mostly the agent's.
func dropFilter(l netlink.Link, program int) *netlink.BpfFilter {
	const behindOurs = 500
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Priority: behindOurs, Protocol: unix.ETH_P_ALL,
		},
		Fd: program, Name: "tapwatch-drill", DirectAction: true,
	}
}

func dropDatagrams(l netlink.Link) error {
	const otherwise = "otherwise"
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "drill_drops", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1), // where LoadAbs looks for the packet
		asm.LoadAbs(23, asm.Byte),   // the protocol, behind an Ethernet header
		asm.JNE.Imm(asm.R0, unix.IPPROTO_UDP, otherwise),
		asm.LoadAbs(36, asm.Half), // the destination's port, behind an IPv4 header without options
		asm.JNE.Imm(asm.R0, discardPort, otherwise),
		asm.Mov.Imm(asm.R0, int32(netlink.TC_ACT_SHOT)), asm.Return(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol(otherwise), asm.Return(), // TC_ACT_UNSPEC
	}})
	if err != nil {
		return err
	}
	defer p.Close() // the filter keeps it
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := netlink.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return netlink.FilterAdd(dropFilter(l, p.FD()))
}
