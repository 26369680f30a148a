package pairing

import (
	"context"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

// memory is what an agent hands out, and the agent's own view of it.
func memory(t *testing.T) (fd int, seen *table) {
	t.Helper()
	fd, err := unix.MemfdCreate("pairs", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Ftruncate(fd, Places*placeSize); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, Places*placeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return fd, (*table)(unsafe.Pointer(&b[0]))
}

func serve(t *testing.T, dir string, fd int) *Server {
	t.Helper()
	s, err := Listen(dir, fd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	go s.Run()
	return s
}

// What is told reaches the agent that runs, the next one after it, and nobody
// where none does.
func TestTell(t *testing.T) {
	dir := t.TempDir()
	var teller Teller
	teller.Tell(1, 2) // nobody is there
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); teller.Run(ctx, dir) }()
	for range 2 {
		fd, seen := memory(t)
		s := serve(t, dir, fd)
		nettest.Eventually(t, "the table is there", teller.Heard)
		teller.Tell(7, 5)
		teller.Tell(8, Places+6)
		if p := seen[5]; p.front != 7 || p.back != 5 {
			t.Errorf("%+v", p)
		}
		if p := seen[6]; p.front != 8 || p.back != Places+6 {
			t.Errorf("%+v", p)
		}
		teller.Tell(9, 6) // shares its place
		if p := seen[6]; p.front != 9 || p.back != 6 {
			t.Errorf("%+v", p)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		nettest.Eventually(t, "the table is given up", func() bool { return !teller.Heard() })
		if _, err := os.Stat(Socket(dir)); !os.IsNotExist(err) {
			t.Errorf("the socket is left: %v", err)
		}
	}
	stop()
	<-done
}

// An agent that was killed leaves its socket.
func TestListenAfterAKill(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(Socket(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, _ := memory(t)
	serve(t, dir, fd)
}

func BenchmarkTell(b *testing.B) {
	teller := Teller{}
	teller.table.Store(new(table))
	for i := uint64(1); b.Loop(); i++ {
		teller.Tell(i, i&1023)
	}
}
