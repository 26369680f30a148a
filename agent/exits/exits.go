// Package exits tells when a process that is watched ends, and how, and when it is
// stopped. It is told by the kernel, before the process's files are closed: whether
// a VMM died first or its tap lost the carrier first is known for sure.
package exits

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"tapwatch/bpf"
	"tapwatch/internal/proc"
)

// Watcher tells of watched processes. It keeps no file of any of them.
type Watcher struct {
	objs   bpf.ExitsObjects
	links  []link.Link
	reader *ringbuf.Reader
}

// ErrPIDs says that a process of /proc cannot be named to the kernel.
var ErrPIDs = errors.New("/proc shows the pids of an unknown PID namespace")

// Open loads the programs, which know processes by the pids that /proc shows. It needs
// BTF and CAP_BPF with CAP_PERFMON.
func Open(pids proc.Numbers) (_ *Watcher, err error) {
	if pids.Inode == 0 {
		return nil, ErrPIDs
	}
	w := &Watcher{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	types, giveBack := bpf.Types()
	defer giveBack()
	opts := ebpf.CollectionOptions{Cache: types}
	opts.Programs.ExtraRelocationTargets = bpf.Modules(types, "tun") // struct tun_file
	spec, err := bpf.LoadExits()
	if err != nil {
		return nil, fmt.Errorf("read the programs that see processes end: %w", err)
	}
	if err := spec.Variables[bpf.ExitsVarPidNs].Set(pids.KernelInode()); err != nil {
		return nil, fmt.Errorf("configure the programs that see processes end: %w", err)
	}
	if err := spec.LoadAndAssign(&w.objs, &opts); err != nil {
		return nil, fmt.Errorf("load the programs that see processes end: %w", err)
	}
	for _, prog := range []*ebpf.Program{w.objs.ProcessExit, w.objs.SignalSent} {
		l, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return nil, fmt.Errorf("attach the programs that see processes end: %w", err)
		}
		w.links = append(w.links, l)
	}
	if w.reader, err = ringbuf.NewReader(w.objs.Exits); err != nil {
		return nil, fmt.Errorf("read the ends of processes: %w", err)
	}
	return w, nil
}

// Close ends the watch.
func (w *Watcher) Close() error {
	var errs []error
	if w.reader != nil {
		errs = append(errs, w.reader.Close())
	}
	for _, l := range w.links {
		errs = append(errs, l.Close())
	}
	return errors.Join(append(errs, w.objs.Close())...)
}

// Watch has the end of a process told. One that has ended before is never told
// of: look whether it lives after this.
func (w *Watcher) Watch(pid int) error {
	if err := w.objs.Watched.Put(uint32(pid), bpf.ExitsFate{}); err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	return nil
}

// Forget undoes Watch. A process that ended needs none.
func (w *Watcher) Forget(pid int) error {
	if err := w.objs.Watched.Delete(uint32(pid)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget process %d: %w", pid, err)
	}
	return nil
}

// Lost returns how many ends found no place in the buffer.
func (w *Watcher) Lost() (n uint64, err error) {
	if err := w.objs.Lost.Get(&n); err != nil {
		return 0, fmt.Errorf("read the count of lost ends: %w", err)
	}
	return n, nil
}

// Told is what Run calls for what happens to watched processes.
type Told struct {
	Ended func(Exit)
	// Signalled is called for each signal that asks one to stop or to go on, just before
	// it does.
	Signalled func(pid int, stop bool)
	// Kicked is called where one has sent threads of its own a real-time signal, once
	// for several within an instant: Firecracker pauses and resumes its vCPUs so.
	Kicked func(pid int)
}

// Run calls what is told until the context ends.
func (w *Watcher) Run(ctx context.Context, to Told) error {
	stop := context.AfterFunc(ctx, func() { _ = w.reader.Flush() }) // a closed reader returns anyway
	defer stop()
	var r ringbuf.Record
	for {
		switch err := w.reader.ReadInto(&r); {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read the ends of processes: %w", err)
		}
		told, err := decode(r.RawSample)
		if err != nil {
			return err
		}
		switch bpf.ExitsTale(told.Tale) {
		case bpf.ExitsTaleTALE_ENDED:
			to.Ended(exitOf(told))
		case bpf.ExitsTaleTALE_KICKED:
			to.Kicked(int(told.Pid))
		default:
			to.Signalled(int(told.Pid), bpf.ExitsTale(told.Tale) == bpf.ExitsTaleTALE_STOPPED)
		}
	}
}

func decode(b []byte) (told bpf.ExitsTold, err error) {
	if _, err := binary.Decode(b, binary.NativeEndian, &told); err != nil {
		return told, fmt.Errorf("decode what happened to a process, of %d bytes: %w", len(b), err)
	}
	return told, nil
}
