package relay

import (
	"io"
	"testing"
)

// One byte there and back over a connection that stays.
func BenchmarkRoundTrip(b *testing.B) {
	w := newWorld(b)
	go echo(w.backend)
	c := w.dial(b)
	buf := make([]byte, 1)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// Connect, one byte there and back, close.
func BenchmarkConnection(b *testing.B) {
	w := newWorld(b)
	go echo(w.backend)
	buf := make([]byte, 1)
	for b.Loop() {
		c, err := dialIn(b.Context(), w.ns, w.route.Addr())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}

// Bytes towards the guest.
func BenchmarkBulk(b *testing.B) {
	w := newWorld(b)
	client, guest := w.pair(b)
	go func() { _, _ = io.Copy(io.Discard, guest) }() // ends with the connection
	buf := make([]byte, 1<<20)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := client.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}
