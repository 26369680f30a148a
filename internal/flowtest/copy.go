package flowtest

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// forward accepts at args[0] and passes each connection, with one of its own to
// args[1], to carry, in a goroutine.
func forward(args []string, carry func(front, back *net.TCPConn)) error {
	l, err := net.Listen("tcp4", args[0])
	if err != nil {
		return err
	}
	for {
		front, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer front.Close()
			back, err := net.Dial("tcp4", args[1])
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			defer back.Close()
			carry(front.(*net.TCPConn), back.(*net.TCPConn))
		}()
	}
}

// bothWays runs move for each direction until both have ended.
func bothWays(front, back *net.TCPConn, move func(to, from *net.TCPConn)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		move(front, back)
		_ = front.CloseWrite() // reset already is as well
	}()
	move(back, front)
	_ = back.CloseWrite()
	<-done
}

// copyProxy is what most Go proxies are: io.Copy, which splices.
func copyProxy(args []string) error {
	return forward(args, func(front, back *net.TCPConn) {
		bothWays(front, back, func(to, from *net.TCPConn) { _, _ = io.Copy(to, from) })
	})
}

// readWriteProxy reads into memory and writes from there. With -sleep it is slow:
// it sleeps between what it read of a client and what it sends on, and says each
// time, in nanoseconds, how long that took.
func readWriteProxy(args []string) error {
	flags := flag.NewFlagSet("readwrite", flag.ContinueOnError)
	sleep := flags.Duration("sleep", 0, "between reading and sending")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return forward(flags.Args(), func(front, back *net.TCPConn) {
		bothWays(front, back, func(to, from *net.TCPConn) {
			buf := make([]byte, 32<<10)
			for {
				n, err := from.Read(buf)
				start := time.Now()
				if from == front && *sleep > 0 && n > 0 {
					time.Sleep(*sleep)
					fmt.Println("slept", time.Since(start).Nanoseconds())
				}
				if _, failed := to.Write(buf[:n]); errors.Join(err, failed) != nil {
					return
				}
			}
		})
	})
}
