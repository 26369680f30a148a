package sockets

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
	"tapwatch/internal/netns"
)

// Watcher tells when a socket begins or ceases to listen on one of two ports, in
// any namespace. It keeps nothing open of any.
type Watcher struct {
	objs   bpf.ListensObjects
	link   link.Link
	reader *ringbuf.Reader
}

// Watch loads the program. It needs BTF and CAP_BPF with CAP_PERFMON.
func Watch(relayPort, proxyPort uint16) (_ *Watcher, err error) {
	w := &Watcher{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	spec, err := bpf.LoadListens()
	if err != nil {
		return nil, fmt.Errorf("read the program that sees who listens: %w", err)
	}
	for name, port := range map[string]uint16{bpf.ListensVarRelayPort: relayPort, bpf.ListensVarProxyPort: proxyPort} {
		if err := spec.Variables[name].Set(port); err != nil {
			return nil, fmt.Errorf("configure the program that sees who listens: %w", err)
		}
	}
	types, giveBack := bpf.Types()
	defer giveBack()
	if err := spec.LoadAndAssign(&w.objs, &ebpf.CollectionOptions{Cache: types}); err != nil {
		return nil, fmt.Errorf("load the program that sees who listens: %w", err)
	}
	if w.link, err = link.AttachTracing(link.TracingOptions{Program: w.objs.StateSet}); err != nil {
		return nil, fmt.Errorf("attach the program that sees who listens: %w", err)
	}
	if w.reader, err = ringbuf.NewReader(w.objs.Told); err != nil {
		return nil, fmt.Errorf("read who listens: %w", err)
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

// Run calls fn for each change with the namespace that it is in, a moment before
// or after the kernel lists it so, until the context ends.
func (w *Watcher) Run(ctx context.Context, fn func(in netns.Cookie)) error {
	stop := context.AfterFunc(ctx, func() { _ = w.reader.Flush() }) // a closed reader returns anyway
	defer stop()
	var r ringbuf.Record
	for {
		switch err := w.reader.ReadInto(&r); {
		case ctx.Err() != nil || errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("read who listens: %w", err)
		}
		var l bpf.ListensListens
		if _, err := binary.Decode(r.RawSample, binary.NativeEndian, &l); err != nil {
			return fmt.Errorf("decode who listens, of %d bytes: %w", len(r.RawSample), err)
		}
		fn(netns.Cookie(l.Netns))
	}
}
