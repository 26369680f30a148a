// Package holders reads who keeps taps open, in all namespaces at one time.
package holders

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

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

// Config says how holders are read; the zero value works.
type Config struct {
	// ByProc has them read from /proc, as is done by itself where the kernel has no
	// iterator over files.
	ByProc bool
}

// Reader reads holders. Its methods are safe for concurrent use.
type Reader struct {
	prog *ebpf.Program
	iter *link.Iter // nil: /proc is read instead
	lack error
}

// Open loads the iterator over open files. Where the kernel has none, /proc is read
// instead, and Lacks says why.
func Open(cfg Config) *Reader {
	r := &Reader{}
	if !cfg.ByProc {
		r.prog, r.iter, r.lack = load()
	}
	return r
}

func load() (*ebpf.Program, *link.Iter, error) {
	spec, err := bpf.LoadHolders()
	if err != nil {
		return nil, nil, fmt.Errorf("read holder iterator: %w", err)
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
		return nil, nil, fmt.Errorf("load holder iterator: %w", bpf.Explain(err))
	}
	it, err := link.AttachIter(link.IterOptions{Program: objs.TapHolders})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("attach holder iterator: %w", bpf.Explain(err)), objs.Close())
	}
	return objs.TapHolders, it, nil
}

// Lacks says why /proc is read; nil where the iterator is, or /proc was asked for.
func (r *Reader) Lacks() error { return r.lack }

// Close unloads the iterator.
func (r *Reader) Close() error {
	if r == nil || r.iter == nil {
		return nil
	}
	return errors.Join(r.iter.Close(), r.prog.Close())
}

// Read lists the holders of all taps in all namespaces, at one time. It costs
// some milliseconds at a thousand processes, and ten times that where there is no
// iterator: call it on a change, not on a scrape.
func (r *Reader) Read() ([]Holder, error) {
	if r.iter == nil {
		return byProc()
	}
	f, err := r.iter.Open()
	if err != nil {
		return nil, fmt.Errorf("open holder iterator: %w", err)
	}
	defer f.Close()
	return decode(f)
}

// decode reads what the iterator writes, one after the other.
func decode(r io.Reader) (holders []Holder, err error) {
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
