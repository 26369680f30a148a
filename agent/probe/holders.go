package probe

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Holder is one process that keeps a queue of a tap open. A VMM that is attached
// is one; so is anything else that has the tap.
type Holder struct {
	Tap          netns.Device
	TapName      string // the device's present name
	PID          int
	FD           int
	Command      string       // comm, at most 15 bytes
	ProcessNetns netns.Cookie // differs from Tap.Netns where the holder sits elsewhere
}

type holderIterator struct {
	prog *ebpf.Program
	link *link.Iter
}

func loadHolders() (*holderIterator, error) {
	spec, err := bpf.LoadHolders()
	if err != nil {
		return nil, fmt.Errorf("read holder iterator: %w", err)
	}
	types, giveBack := bpf.Types()
	defer giveBack()
	opts := ebpf.CollectionOptions{Cache: types}
	// struct tun_file is the tun module's own where tun is a module.
	if tun, err := types.Module("tun"); err == nil {
		opts.Programs.ExtraRelocationTargets = []*btf.Spec{tun}
	}
	var objs bpf.HoldersObjects
	if err := spec.LoadAndAssign(&objs, &opts); err != nil {
		return nil, fmt.Errorf("load holder iterator: %w", explain(err))
	}
	it, err := link.AttachIter(link.IterOptions{Program: objs.TapHolders})
	if err != nil {
		objs.Close()
		return nil, fmt.Errorf("attach holder iterator: %w", explain(err))
	}
	return &holderIterator{prog: objs.TapHolders, link: it}, nil
}

func (h *holderIterator) Close() error {
	if h == nil {
		return nil
	}
	return errors.Join(h.link.Close(), h.prog.Close())
}

// Holders lists the holders of all taps in all namespaces, at one time. It costs
// some milliseconds at a thousand processes, and ten times that where there is no
// iterator: call it on a change, not on a scrape.
func (p *Probe) Holders() ([]Holder, error) {
	if p.holders == nil {
		return holdersByProc()
	}
	return p.holders.read()
}

func (h *holderIterator) read() ([]Holder, error) {
	r, err := h.link.Open()
	if err != nil {
		return nil, fmt.Errorf("open holder iterator: %w", err)
	}
	defer r.Close()
	return decodeHolders(r)
}

// decodeHolders reads what the iterator writes, one after the other.
func decodeHolders(r io.Reader) (holders []Holder, err error) {
	for buffered := bufio.NewReaderSize(r, 64<<10); ; {
		var h bpf.HoldersHolder
		err := binary.Read(buffered, binary.NativeEndian, &h)
		if errors.Is(err, io.EOF) {
			return holders, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read holder iterator: %w", err)
		}
		holders = append(holders, Holder{
			Tap:          netns.Device{Netns: netns.Cookie(h.TapNetns), Ifindex: netns.Ifindex(h.Ifindex)},
			TapName:      unix.ByteSliceToString(h.Device[:]),
			PID:          int(h.Pid),
			FD:           int(h.Fd),
			Command:      unix.ByteSliceToString(h.Comm[:]),
			ProcessNetns: netns.Cookie(h.ProcessNetns),
		})
	}
}

func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
