// Package notices reports which namespaces' configuration has changed: packet filters,
// forwarding, addresses, routes, rules of routing, permanent neighbours, queueing
// disciplines. What it is now is read by whoever wants to know.
package notices

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nlsafe"
)

// buffer is each socket's, in bytes: a change of a large ruleset is a message a rule.
const buffer = 4 << 20

// nfnlgrpNFTables is NFNLGRP_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h.
// iptables-nft speaks through it too; iptables-legacy tells nobody.
const nfnlgrpNFTables = 7

// Watcher hears of every namespace that has an nsid in the agent's, and of the rules of
// the agent's own. Two sockets are all that it keeps.
type Watcher struct {
	route, filter *nlsafe.Listener
	log           *slog.Logger
	heard, lost   atomic.Uint64
}

// Stats counts since Open.
type Stats struct {
	Heard uint64 // messages
	Lost  uint64 // times that the kernel had to drop some
}

// Notice is one change.
type Notice struct {
	In     netns.NSID // whose configuration changed; NoNSID: our own namespace's
	Filter bool       // it is about packet filters
	All    bool       // notices were lost: any namespace's may have changed
	// The addresses that it is about, and the link; zero: whichever. Our own namespace is
	// on the path of every sandbox.
	To   netip.Prefix
	Link netns.Ifindex
}

// groups are what the kernel is asked to report. Neighbours change all the time, and so
// do filters of tc (the agent's own): most of that is not for us.
var groups = []int{unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
	unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_NEIGH, unix.RTNLGRP_TC}

// wanted is a classic BPF program that passes permanent neighbours, qdiscs, and all that
// is neither of a neighbour nor of tc. It reads the message's type, whose second byte is
// 0, and ndm_state behind the header.
var wanted = []unix.SockFilter{
	{Code: loadByte, K: 4},
	{Code: jumpEqual, K: unix.RTM_NEWNEIGH, Jt: 3},
	{Code: jumpEqual, K: unix.RTM_DELNEIGH, Jt: 2},
	{Code: jumpAtLeast, K: unix.RTM_NEWTCLASS, Jf: 4},
	{Code: jumpAtLeast, K: unix.RTM_GETTFILTER + 1, Jt: 3, Jf: 2},
	{Code: loadByte, K: unix.SizeofNlMsghdr + 8},
	{Code: jumpSet, K: unix.NUD_PERMANENT, Jt: 1},
	{Code: give, K: 0},
	{Code: give, K: 1 << 16},
}

const (
	loadByte    = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	jumpEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpSet     = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	give        = unix.BPF_RET | unix.BPF_K
)

// Open subscribes, in the calling thread's namespace.
func Open(log *slog.Logger) (*Watcher, error) {
	route, err := nlsafe.Listen(unix.NETLINK_ROUTE, buffer, groups...)
	if err != nil {
		return nil, fmt.Errorf("hear of routes and settings: %w", err)
	}
	if err := route.Filter(wanted); err != nil {
		route.Close()
		return nil, fmt.Errorf("hear of routes and settings: %w", err)
	}
	filter, err := nlsafe.Listen(unix.NETLINK_NETFILTER, buffer, nfnlgrpNFTables)
	if err != nil {
		route.Close()
		return nil, fmt.Errorf("hear of rules: %w", err)
	}
	return &Watcher{route: route, filter: filter, log: log}, nil
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.route.Close()
	w.filter.Close()
}

// Stats returns the counts so far.
func (w *Watcher) Stats() Stats { return Stats{w.heard.Load(), w.lost.Load()} }

// Run calls fn for each notice, from two goroutines, until the context ends.
func (w *Watcher) Run(ctx context.Context, fn func(Notice)) error {
	var g errgroup.Group
	g.Go(func() error { w.hear(ctx, w.route, fn, read); return nil })
	g.Go(func() error {
		w.hear(ctx, w.filter, fn, func(in netns.NSID, _ []byte, fn func(Notice)) {
			fn(Notice{In: in, Filter: true})
		})
		return nil
	})
	return g.Wait()
}

func (w *Watcher) hear(ctx context.Context, l *nlsafe.Listener, fn func(Notice), read func(netns.NSID, []byte, func(Notice))) {
	l.Hear(ctx, func(d nlsafe.Datagram, err error) {
		switch {
		case err != nil: // ENOBUFS above all
			w.lost.Add(1)
			w.log.Debug("notices of changes were lost", "err", err)
			fn(Notice{In: netns.NoNSID, All: true})
		case len(d.Bytes) > 0:
			w.heard.Add(1)
			read(netns.NSID(d.NSID), d.Bytes, fn)
		}
	})
}

// read reads a datagram of NETLINK_ROUTE. What cannot be read may be about anything.
func read(in netns.NSID, b []byte, fn func(Notice)) {
	for len(b) > 0 {
		m, rest, err := nlsafe.Next(b)
		n := Notice{In: in}
		if err == nil {
			n.To, n.Link, err = about(m)
		}
		if err != nil {
			fn(Notice{In: in})
			return
		}
		fn(n)
		b = rest
	}
}

// about says which addresses and which link a message is about.
func about(m nlsafe.Message) (to netip.Prefix, link netns.Ifindex, err error) {
	body := m.Body
	switch m.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(body) < unix.SizeofRtMsg || body[0] != unix.AF_INET {
			return to, 0, nlsafe.ErrMalformed
		}
		to = netip.PrefixFrom(netip.IPv4Unspecified(), 0) // the default route has no RTA_DST
		err = nlsafe.EachAttr(body[unix.SizeofRtMsg:], func(typ uint16, v []byte) error {
			if typ == unix.RTA_DST && len(v) == 4 {
				to = netip.PrefixFrom(netip.AddrFrom4([4]byte(v)), int(body[1]))
			}
			return nil
		})
		return to, 0, err
	case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH, unix.RTM_NEWQDISC, unix.RTM_DELQDISC:
		if len(body) < unix.SizeofIfAddrmsg { // all three headers have it there
			return to, 0, nlsafe.ErrMalformed
		}
		return to, netns.Ifindex(binary.NativeEndian.Uint32(body[4:])), nil
	case unix.RTM_NEWNETCONF, unix.RTM_DELNETCONF:
		err = nlsafe.EachAttr(body[min(len(body), sizeofNetconfmsg):], func(typ uint16, v []byte) error {
			if i, err := nlsafe.Uint32(v); err == nil && typ == netconfaIfindex && int32(i) > 0 { // else all, or the default
				link = netns.Ifindex(i)
			}
			return nil
		})
	}
	return to, link, err
}

// from include/uapi/linux/netconf.h; the header is padded
const (
	sizeofNetconfmsg = 4
	netconfaIfindex  = 1
)
