package flowtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// poolProxy knows where a request ends, as proxies of databases do: it sends each,
// from the buffer that it was read into, by any connection that is free, the one
// given back last before others.
func poolProxy(args []string) error {
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	free := make(chan []net.Conn, 1)
	free <- nil
	for {
		front, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer front.Close()
			buf := make([]byte, 1<<20)
			for {
				if err := passRequest(front, args[1], free, buf); err != nil {
					if !errors.Is(err, io.EOF) {
						fmt.Fprintln(os.Stderr, err)
					}
					return
				}
			}
		}()
	}
}

func passRequest(front net.Conn, dial string, free chan []net.Conn, buf []byte) error {
	q, err := readMessage(front, buf)
	if err != nil {
		return err
	}
	back, err := takeFree(dial, free)
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
	conns := <-free
	free <- append(conns, back)
	_, err = front.Write(a)
	return err
}

func takeFree(dial string, free chan []net.Conn) (net.Conn, error) {
	conns := <-free
	if n := len(conns); n > 0 {
		free <- conns[:n-1]
		return conns[n-1], nil
	}
	free <- nil
	return net.Dial("tcp4", dial)
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
