package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// consoleLimit is when a console log is cut, in bytes; consoleKeep is what is
	// kept of its end. A guest writes a few MB/s at most: between two looks the
	// than that does it grow over the limit.
	consoleLimit = 1 << 20
	consoleKeep  = 256 << 10
	consoleEvery = time.Second
)

// trimConsoles is the goroutine that keeps guests from filling the host's disk,
// or its memory where the run directory is a tmpfs.
func (m *Manager) trimConsoles(ctx context.Context) {
	tick := time.NewTicker(consoleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range m.List() {
			if err := trim(s.Console, consoleLimit, consoleKeep); err != nil {
				m.cfg.Log.Warn("console log is not cut", "sandbox_id", s.ID, "err", err)
			}
		}
	}
}

// trim cuts a file that has grown over limit down to its last keep bytes. The
// VMM appends, so it goes on at the new end; what it writes in this moment may be lost.
func trim(file string, limit, keep int64) error {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, os.ErrNotExist) { // not started yet, or gone since
		return nil
	}
	if err != nil {
		return fmt.Errorf("cut console log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cut console log: %w", err)
	}
	size := info.Size()
	if size <= limit {
		return nil
	}
	tail := make([]byte, keep)
	n, err := f.ReadAt(tail, size-keep)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("cut console log: %w", err)
	}
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("cut console log: %w", err)
	}
	head := fmt.Appendf(nil, "[tapwatch: %d bytes of console were cut here]\n", size-int64(n))
	if _, err := f.Write(append(head, tail[:n]...)); err != nil {
		return fmt.Errorf("cut console log: %w", err)
	}
	return nil
}
