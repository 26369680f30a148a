package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf/ringbuf"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// Refusals calls fn, until the context ends, for each device whose guest has just
// refused a connection to envd, or taken the first one after that. Of a device that
// goes on refusing it tells ten times a second and CPU at most.
func (p *Probe) Refusals(ctx context.Context, fn func(netns.Device)) error {
	r, err := ringbuf.NewReader(p.tap.Maps[bpf.TapMapRefusals])
	if err != nil {
		return fmt.Errorf("read which guests refuse: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = r.Close() })()
	var rec ringbuf.Record
	for {
		switch err := r.ReadInto(&rec); {
		case errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return errors.Join(fmt.Errorf("read which guests refuse: %w", err), r.Close())
		}
		var key bpf.TapKey
		if _, err := binary.Decode(rec.RawSample, binary.NativeEndian, &key); err != nil {
			return errors.Join(fmt.Errorf("read which guests refuse: %w", err), r.Close())
		}
		fn(deviceOf(key))
	}
}
