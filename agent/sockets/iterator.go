package sockets

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// ErrListenersUnknown is returned where the kernel cannot list listeners.
var ErrListenersUnknown = errors.New("listening sockets are unknown: no task_file iterator")

// Found is a listener with where it is.
type Found struct {
	Netns netns.Cookie
	Port  uint16
	Listener
}

// Iterator lists the listening TCP sockets of all namespaces. Its methods are safe
// for concurrent use.
type Iterator struct {
	prog *ebpf.Program
	link *link.Iter
}

// LoadIterator loads the iterator over open files. It needs BTF and CAP_BPF with
// CAP_PERFMON.
func LoadIterator() (*Iterator, error) {
	types, giveBack := bpf.Types()
	defer giveBack()
	var objs bpf.ListenersObjects
	if err := bpf.LoadListenersObjects(&objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return nil, fmt.Errorf("load listener iterator: %w", bpf.Explain(err))
	}
	it, err := link.AttachIter(link.IterOptions{Program: objs.TcpListeners})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("attach listener iterator: %w", bpf.Explain(err)), objs.Close())
	}
	return &Iterator{prog: objs.TcpListeners, link: it}, nil
}

// Close unloads the iterator. A nil Iterator has nothing to unload.
func (it *Iterator) Close() error {
	if it == nil {
		return nil
	}
	return errors.Join(it.link.Close(), it.prog.Close())
}

// All lists the listening TCP sockets of all processes in all namespaces at one
// time; PID is the process that has the socket open. A socket that several processes
// share is listed for each of them. It costs some milliseconds at a thousand
// processes. Into is room for them. A nil Iterator returns ErrListenersUnknown.
func (it *Iterator) All(into []Found) ([]Found, error) {
	if it == nil {
		return nil, ErrListenersUnknown
	}
	f, err := it.link.Open()
	if err != nil {
		return nil, fmt.Errorf("open listener iterator: %w", err)
	}
	defer f.Close()
	return decodeFound(f, into[:0])
}

// decodeFound reads what the iterator writes, one after the other.
func decodeFound(r io.Reader, all []Found) ([]Found, error) {
	err := bpf.Records(r, func(l *bpf.ListenersListener) {
		addr := netip.AddrFrom4([4]byte(l.Addr[:4]))
		if l.Ipv6 != 0 {
			addr = netip.AddrFrom16(l.Addr).Unmap()
		}
		all = append(all, Found{Netns: netns.Cookie(l.Netns), Port: l.Port,
			Listener: Listener{Addr: addr, Only6: l.Only6 != 0, PID: int(l.Pid), Waiting: l.Waiting, Most: l.Most}})
	})
	if err != nil {
		return nil, fmt.Errorf("read listener iterator: %w", err)
	}
	return all, nil
}
