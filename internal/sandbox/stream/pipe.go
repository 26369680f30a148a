package stream

import (
	"golang.org/x/sys/unix"
)

const (
	pipeSize  = 1 << 20 // asked for; the kernel's limit may be less
	keepPipes = 4       // that nobody uses, in a loop
)

// pipe is what splicing goes through. It holds n bytes.
type pipe struct {
	r, w int32
	n    int
}

// pipes are those of one loop. A connection takes one only when there is much to
// move, and gives it back empty before it waits.
type pipes struct {
	engine *Engine
	most   int
	made   int
	idle   []*pipe
}

// get returns an empty pipe, or nil where there is none to be had: then bytes
// are copied.
func (p *pipes) get() *pipe {
	if n := len(p.idle); n > 0 {
		out := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return out
	}
	if p.made >= p.most {
		return nil
	}
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC) != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one works as well
	p.made++
	p.engine.pipes.Add(1)
	return &pipe{r: int32(fds[0]), w: int32(fds[1])}
}

// put takes a pipe back; one that is not empty is of no use.
func (p *pipes) put(q *pipe) {
	if q.n == 0 && len(p.idle) < keepPipes {
		p.idle = append(p.idle, q)
		return
	}
	p.discard(q)
}

func (p *pipes) discard(q *pipe) {
	closeFD(q.r)
	closeFD(q.w)
	p.made--
	p.engine.pipes.Add(-1)
}

func (p *pipes) close() {
	for _, q := range p.idle {
		p.discard(q)
	}
	p.idle = nil
}
