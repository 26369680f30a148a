package probe

import (
	"bufio"
	"encoding/binary"
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

// Listener is a listening TCP socket.
type Listener struct {
	Netns netns.Cookie
	Addr  netip.AddrPort // the unspecified address stands for all
	Only6 bool           // it takes no IPv4
	PID   int            // of the process that has it open, or of one of several
	// Waiting is how many connections are made and wait to be accepted; where more
	// than Most do, no other is made.
	Waiting, Most uint32
}

type listenerIterator struct {
	prog *ebpf.Program
	link *link.Iter
}

func loadListeners() (*listenerIterator, error) {
	types, giveBack := bpf.Types()
	defer giveBack()
	var objs bpf.ListenersObjects
	if err := bpf.LoadListenersObjects(&objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return nil, fmt.Errorf("load listener iterator: %w", explain(err))
	}
	it, err := link.AttachIter(link.IterOptions{Program: objs.TcpListeners})
	if err != nil {
		objs.Close()
		return nil, fmt.Errorf("attach listener iterator: %w", explain(err))
	}
	return &listenerIterator{prog: objs.TcpListeners, link: it}, nil
}

func (l *listenerIterator) Close() error {
	if l == nil {
		return nil
	}
	return errors.Join(l.link.Close(), l.prog.Close())
}

// Listeners lists the listening TCP sockets of all processes in all namespaces
// at one time. A socket that several processes share is listed for each of them.
// It costs some milliseconds at a thousand processes.
func (p *Probe) Listeners() ([]Listener, error) {
	if p.listeners == nil {
		return nil, ErrListenersUnknown
	}
	f, err := p.listeners.link.Open()
	if err != nil {
		return nil, fmt.Errorf("open listener iterator: %w", err)
	}
	defer f.Close()
	return decodeListeners(f)
}

// decodeListeners reads what the iterator writes, one after the other.
func decodeListeners(r io.Reader) (all []Listener, err error) {
	for buffered := bufio.NewReaderSize(r, 64<<10); ; {
		var l bpf.ListenersListener
		err := binary.Read(buffered, binary.NativeEndian, &l)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read listener iterator: %w", err)
		}
		addr := netip.AddrFrom4([4]byte(l.Addr[:4]))
		if l.Ipv6 != 0 {
			addr = netip.AddrFrom16(l.Addr).Unmap()
		}
		all = append(all, Listener{Netns: netns.Cookie(l.Netns), Addr: netip.AddrPortFrom(addr, l.Port),
			Only6: l.Only6 != 0, PID: int(l.Pid), Waiting: l.Waiting, Most: l.Most})
	}
}
