package flowtest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Load is what clients do, all at once, each with its connection.
type Load struct {
	Conns, Requests int
	Random          bool // sizes from 64 bytes to 64 KiB, both ways; else 256 bytes
}

func (l Load) String() string {
	sizes := "equal"
	if l.Random {
		sizes = "random"
	}
	return fmt.Sprintf("%dx%d-%s", l.Conns, l.Requests, sizes)
}

// Loads are those that every proxy is held to.
func Loads() []Load {
	var all []Load
	for _, conns := range []int{50, 200} {
		for _, requests := range []int{1, 10} {
			for _, random := range []bool{false, true} {
				all = append(all, Load{conns, requests, random})
			}
		}
	}
	return all
}

// Run asks over each of the connections at once. They stay open.
func (l Load) Run(t testing.TB, conns []*Conn) {
	t.Helper()
	var all errgroup.Group
	for _, c := range conns {
		all.Go(func() error {
			for range l.Requests {
				q := Request{Size: 256, Reply: 256}
				if l.Random {
					q.Size, q.Reply = randomSize(), randomSize()
				}
				if _, err := c.Ask(q); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}

// randomSize favours no magnitude from 64 bytes to 64 KiB.
func randomSize() uint32 {
	most := uint32(HeaderSize) << (1 + rand.N(uint32(10)))
	return most/2 + rand.N(most/2+1)
}
