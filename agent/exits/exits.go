// Package exits tells when a process that is watched ends, and how. It is told by
// the kernel, before the process's files are closed: whether a VMM died first or
// its tap lost the carrier first can be read off the times.
package exits

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
)

// Exit is a process that ended.
type Exit struct {
	PID     int
	Time    time.Time // by the kernel's clock, as wall-clock time
	Command string    // comm, at most 15 bytes
	Status  unix.WaitStatus
}

// String says how the process ended, e.g. "was killed by SIGKILL".
func (e Exit) String() string {
	switch {
	case e.Status.Signaled():
		name := unix.SignalName(e.Status.Signal())
		if name == "" {
			name = fmt.Sprintf("signal %d", e.Status.Signal())
		}
		return "was killed by " + name
	case e.Status.ExitStatus() == 0:
		return "ended with status 0"
	}
	return fmt.Sprintf("ended with status %d", e.Status.ExitStatus())
}

// Watcher tells of watched processes. It keeps no file of any of them.
type Watcher struct {
	objs   bpf.ExitsObjects
	link   link.Link
	reader *ringbuf.Reader
}

// Open loads the program. It needs BTF and CAP_BPF with CAP_PERFMON.
func Open() (_ *Watcher, err error) {
	w := &Watcher{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	if err := bpf.LoadExitsObjects(&w.objs, nil); err != nil {
		return nil, fmt.Errorf("load the program that sees processes end: %w", err)
	}
	if w.link, err = link.AttachTracing(link.TracingOptions{Program: w.objs.ProcessExit}); err != nil {
		return nil, fmt.Errorf("attach the program that sees processes end: %w", err)
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
	if w.link != nil {
		errs = append(errs, w.link.Close())
	}
	return errors.Join(append(errs, w.objs.Close())...)
}

// Watch has the end of a process told. One that has ended before is never told
// of: look whether it lives after this.
func (w *Watcher) Watch(pid int) error {
	if err := w.objs.Watched.Put(uint32(pid), uint8(1)); err != nil {
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

// Run calls fn for every end of a watched process, until the context ends.
func (w *Watcher) Run(ctx context.Context, fn func(Exit)) error {
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
		e, err := decode(r.RawSample)
		if err != nil {
			return err
		}
		fn(e)
	}
}

func decode(b []byte) (Exit, error) {
	var raw bpf.ExitsExit
	if _, err := binary.Decode(b, binary.NativeEndian, &raw); err != nil {
		return Exit{}, fmt.Errorf("decode the end of a process of %d bytes: %w", len(b), err)
	}
	return Exit{
		PID:     int(raw.Pid),
		Time:    wall(raw.Time),
		Command: unix.ByteSliceToString(raw.Comm[:]),
		Status:  unix.WaitStatus(raw.Code),
	}, nil
}

// wall turns nanoseconds of CLOCK_MONOTONIC into wall-clock time, by the two
// clocks' difference now.
func wall(ns uint64) time.Time {
	var ts unix.Timespec
	// CLOCK_MONOTONIC always exists, so this cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Now().Add(-time.Duration(uint64(ts.Nano()) - ns))
}
