package flowtest

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
)

// poolProxy knows where a request ends, as proxies of databases do: it sends each,
// from the buffer that it was read into, by any connection that is free: the one
// given back last before others or, with -first, the one given back first.
func poolProxy(args []string) error {
	flags := flag.NewFlagSet("pool", flag.ContinueOnError)
	first := flags.Bool("first", false, "take the connection that was given back first")
	if err := flags.Parse(args); err != nil {
		return err
	}
	args = flags.Args()
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	free := &pool{first: *first, to: args[1]}
	for {
		front, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer front.Close()
			buf := make([]byte, 1<<20)
			for {
				if err := passRequest(front, free, buf); err != nil {
					if !errors.Is(err, io.EOF) {
						fmt.Fprintln(os.Stderr, err)
					}
					return
				}
			}
		}()
	}
}

func passRequest(front net.Conn, free *pool, buf []byte) error {
	q, err := readMessage(front, buf)
	if err != nil {
		return err
	}
	back, err := free.take()
	if err != nil {
		return err
	}
	if _, err := back.Write(q); err != nil {
		return err
	}
	a, err := readMessage(back, buf)
	if err != nil {
		return err
	}
	free.give(back)
	_, err = front.Write(a)
	return err
}

// pool is connections that are open and free.
type pool struct {
	to    string
	first bool

	mu   sync.Mutex
	free []net.Conn
}

func (p *pool) take() (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.free)
	if n == 0 {
		return net.Dial("tcp4", p.to)
	}
	i := n - 1
	if p.first {
		i = 0
	}
	c := p.free[i]
	p.free = slices.Delete(p.free, i, i+1)
	return c, nil
}

func (p *pool) give(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, c)
}

// readMessage reads one into buf, as much of it as is there at a time.
func readMessage(c net.Conn, buf []byte) ([]byte, error) {
	n, err := io.ReadAtLeast(c, buf, HeaderSize)
	if err != nil {
		return nil, err
	}
	size := max(int(binary.LittleEndian.Uint32(buf[4:])), HeaderSize)
	if n < size {
		_, err = io.ReadFull(c, buf[n:size])
	}
	return buf[:size], err
}
