// Package pairing is how a proxy tells the agent which of its sockets belong
// together: a page of memory that the agent's programs in the kernel read. Telling
// is two writes to it, so it costs a request nothing that could be measured. The
// agent hands the memory out over a unix socket; where no agent runs, nobody is
// told, and where it starts again, its new memory is taken.
package pairing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Places and the layout of a place are those of struct told in bpf/flow.h: the
// cookie of the back socket, then the front's. A back socket has its place by its
// cookie; of two that share one, the later is told.
const (
	Places    = 16384
	placeSize = 16
)

// Socket is where the agent of a run directory hands its table out.
func Socket(runDir string) string { return filepath.Join(runDir, "pairing.sock") }

// Teller tells the agent of a run directory, as long as there is one. Its zero
// value tells nobody. It is safe for concurrent use.
type Teller struct {
	table atomic.Pointer[table]
}

// table is the mapped memory; it stays mapped, as somebody may be writing to it.
type table [Places]struct{ back, front uint64 }

// Tell says that what is sent on the socket with the cookie back, from now on, is
// what was received on the one with the cookie front.
func (t *Teller) Tell(front, back uint64) {
	m := t.table.Load()
	if m == nil {
		return
	}
	place := &m[back%Places]
	if atomic.LoadUint64(&place.back) != back {
		atomic.StoreUint64(&place.back, 0) // nobody may read the old front for the new back
	}
	atomic.StoreUint64(&place.front, front)
	atomic.StoreUint64(&place.back, back)
}

// Heard says whether there is an agent that is told.
func (t *Teller) Heard() bool { return t.table.Load() != nil }

// again is the time between two looks for an agent.
const again = 2 * time.Second

// Run keeps the connection to the agent of a run directory until the context ends.
func (t *Teller) Run(ctx context.Context, runDir string) {
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		if c, m, err := receive(Socket(runDir)); err == nil {
			t.table.Store(m)
			stop := context.AfterFunc(ctx, func() { c.Close() })
			_, _ = c.Read(make([]byte, 1)) // until the agent has gone
			stop()
			c.Close()
			t.table.Store(nil)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// receive takes the table from an agent.
func receive(path string) (_ *net.UnixConn, _ *table, err error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.SetReadDeadline(time.Now().Add(again)); err != nil {
		return nil, nil, err
	}
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), control)
	if err != nil {
		return nil, nil, fmt.Errorf("receive table: %w", err)
	}
	fd, err := descriptor(control[:n])
	if err != nil {
		return nil, nil, fmt.Errorf("receive table: %w", err)
	}
	defer unix.Close(fd) // the mapping keeps the memory
	b, err := unix.Mmap(fd, 0, Places*placeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map table: %w", err)
	}
	return c, (*table)(unsafe.Pointer(&b[0])), c.SetReadDeadline(time.Time{})
}

func descriptor(control []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, err
	}
	if len(messages) != 1 {
		return 0, errors.New("no descriptor was sent")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	if len(fds) != 1 {
		return 0, fmt.Errorf("%d descriptors were sent", len(fds))
	}
	return fds[0], nil
}
