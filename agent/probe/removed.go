package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// removalBuffer is the socket's, in bytes: a thousand taps that come at once make
// three messages each.
const removalBuffer = 4 << 20

// Removals hears when others take our filters from devices: the kernel reports
// each change of a qdisc or filter, in every namespace that has an nsid in the
// agent's own. Hooks of ModeTCX are not reported, see Stands.
type Removals struct {
	probe                *Probe
	listener             *nlsafe.Listener
	self                 netns.Cookie
	heard, lost, removed atomic.Uint64
}

// RemovalStats counts since ListenRemovals.
type RemovalStats struct {
	Heard   uint64 // messages about qdiscs and filters, whoever's
	Lost    uint64 // times that the kernel had to drop some
	Removed uint64 // times that filters of ours were taken away
}

// ListenRemovals subscribes, in the calling thread's namespace. It needs
// CAP_NET_ADMIN and CAP_NET_BROADCAST; Run needs neither. Close it.
func (p *Probe) ListenRemovals() (*Removals, error) {
	self, err := netns.Current()
	if err != nil {
		return nil, fmt.Errorf("hear of removed hooks: %w", err)
	}
	l, err := nlsafe.Listen(unix.NETLINK_ROUTE, removalBuffer, unix.RTNLGRP_TC)
	if err != nil {
		return nil, fmt.Errorf("hear of removed hooks: %w", err)
	}
	return &Removals{probe: p, listener: l, self: self}, nil
}

// Close ends Run.
func (r *Removals) Close() { r.listener.Close() }

// Stats returns the counts so far.
func (r *Removals) Stats() RemovalStats {
	return RemovalStats{Heard: r.heard.Load(), Lost: r.lost.Load(), Removed: r.removed.Load()}
}

// Run calls removed, from one goroutine and until the context ends, with each
// attached device that others took filters of ours from; Attach puts them back.
// All is set where the kernel dropped messages: hooks of any device may have gone,
// and Stands tells. Resolve is asked which namespace an nsid means.
func (r *Removals) Run(ctx context.Context, resolve func(netns.NSID) (netns.Cookie, bool), removed func(d netns.Device, all bool)) error {
	r.listener.Hear(ctx, func(d nlsafe.Datagram, err error) {
		if err != nil || d.Truncated { // ENOBUFS above all
			r.lost.Add(1)
			removed(netns.Device{}, true)
			return
		}
		in, known := r.self, true
		if !d.Own {
			in, known = resolve(netns.NSID(d.NSID))
		}
		if known { // else none of our hooks is in there
			r.take(in, d.Bytes, func(d netns.Device) { removed(d, false) })
		}
	})
	return nil
}

// take goes through one datagram.
func (r *Removals) take(in netns.Cookie, datagram []byte, removed func(netns.Device)) {
	for len(datagram) > 0 {
		m, rest, err := nlsafe.Next(datagram)
		if err != nil {
			return
		}
		datagram = rest
		r.heard.Add(1)
		i, ok := removes(m.Type, m.Body, r.probe.hooks.owner)
		d := netns.Device{Netns: in, Ifindex: i}
		if ok && r.probe.ModeOf(d) == ModeTC {
			r.removed.Add(1)
			removed(d)
		}
	}
}

// sizeofTcmsg and the offsets are those of struct tcmsg in
// include/uapi/linux/rtnetlink.h; info is the priority, in its upper half, and the
// protocol.
const (
	sizeofTcmsg   = 20
	tcmsgIfindex  = 4
	tcmsgHandle   = 8
	tcmsgParent   = 12
	tcmsgInfo     = 16
	clsactHandle  = 0xffff0000
	priorityShift = 16
)

// removes says of which device a message reports that filters of an owner have gone. It
// reports that one of them was removed, or all of their priority, or the whole qdisc, or
// that another filter took the handle of one.
func removes(typ uint16, body []byte, o Owner) (netns.Ifindex, bool) {
	if len(body) < sizeofTcmsg {
		return 0, false
	}
	field := func(at int) uint32 { return binary.NativeEndian.Uint32(body[at:]) }
	handle, parent, priority := field(tcmsgHandle), field(tcmsgParent), field(tcmsgInfo)>>priorityShift
	ours := slices.ContainsFunc(directions, func(dir direction) bool { return dir.parent == parent })
	switch typ {
	case unix.RTM_DELQDISC:
		return netns.Ifindex(field(tcmsgIfindex)), handle == clsactHandle
	case unix.RTM_DELTFILTER:
		whole := handle == 0 && (priority == 0 || priority == filterPriority)
		return netns.Ifindex(field(tcmsgIfindex)), ours && (whole || handle == o.handle())
	case unix.RTM_NEWTFILTER:
		of, _ := parseLabel(filterName(body[sizeofTcmsg:]))
		return netns.Ifindex(field(tcmsgIfindex)), ours && handle == o.handle() && priority == filterPriority && of.owner != o
	}
	return 0, false
}

// filterName returns TCA_BPF_NAME of include/uapi/linux/pkt_cls.h, "" where there
// is none.
func filterName(attrs []byte) (name string) {
	_ = nlsafe.EachAttr(attrs, func(typ uint16, options []byte) error {
		if typ != unix.TCA_OPTIONS {
			return nil
		}
		return nlsafe.EachAttr(options, func(typ uint16, v []byte) error {
			if typ == nl.TCA_BPF_NAME {
				name = unix.ByteSliceToString(v)
			}
			return nil
		})
	})
	return name
}
