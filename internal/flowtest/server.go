package flowtest

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"tapwatch/internal/proctest"
)

// Serve starts a server in a namespace: a slot's guest, or any.
func Serve(t testing.TB, ns string, at netip.AddrPort) *proctest.Process {
	t.Helper()
	p := startIn(t, ns, part(t, "server", at.String()))
	waitForListener(t, ns, at, p)
	return p
}

// server answers requests at an address, for ever.
func server(args []string) error {
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go serve(c)
	}
}

func serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	var mu sync.Mutex // one message at a time
	for {
		var q Request
		body, http, err := unwrapRequest(r)
		if err != nil || read(body, &q) != nil { // its end above all
			return
		}
		if q.Async {
			go answer(c, &mu, q, http)
			continue
		}
		if err := answer(c, &mu, q, http); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
	}
}

func answer(c net.Conn, mu *sync.Mutex, q Request, http bool) error {
	a := Reply{Size: q.Reply, Number: q.Number, Client: q.Client, Peer: endpoint(c.RemoteAddr()), Local: endpoint(c.LocalAddr())}
	if q.Delay > 0 {
		start := time.Now()
		time.Sleep(q.Delay)
		a.Slept = time.Since(start)
	}
	for a.Chunk = range max(q.Chunks, 1) {
		if a.Chunk > 0 && q.Gap > 0 {
			time.Sleep(q.Gap)
		}
		b, err := appendMessage(nil, a.Size, a)
		if err != nil {
			return err
		}
		if http {
			b = wrapResponse(b)
		}
		mu.Lock()
		_, err = c.Write(b)
		mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
