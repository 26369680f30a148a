package nlsafe

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// dial opens a socket in the test's own namespace; reading needs no privilege.
func dial(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func getLink(index byte) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	b[4] = index
	return b
}

func TestDumpAndGetAgree(t *testing.T) {
	c := dial(t)
	ms, err := c.Dump(unix.RTM_GETLINK, getLink(0))
	if err != nil || len(ms) == 0 || ms[0].Type != unix.RTM_NEWLINK {
		t.Fatalf("%d links, %v", len(ms), err)
	}
	lo, err := c.Get(unix.RTM_GETLINK, getLink(1))
	if err != nil || lo[4] != 1 {
		t.Fatalf("link 1: %v, %v", lo, err)
	}
}

func TestRefusalIsTheKernelsErrno(t *testing.T) {
	c := dial(t)
	if _, err := c.Get(unix.RTM_GETLINK, AppendUint32(getLink(0), unix.IFLA_TARGET_NETNSID, 1<<30)); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a namespace that is not there: %v", err)
	}
	if _, err := c.Get(unix.RTM_GETLINK, getLink(255)); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a link that is not there: %v", err)
	}
	if _, err := c.Get(unix.RTM_GETLINK, getLink(1)); err != nil {
		t.Errorf("the socket after refusals: %v", err)
	}
}

func TestAnswerThatDoesNotFitIsStillWhole(t *testing.T) {
	c := dial(t)
	c.buf = make([]byte, 64)
	body, err := c.Get(unix.RTM_GETLINK, getLink(1))
	if err != nil || body[4] != 1 {
		t.Fatalf("%v, %v", body, err)
	}
	if c.Stats().Grown == 0 {
		t.Error("the buffer was not counted as grown")
	}
	c.buf = make([]byte, 64)
	if ms, err := c.Dump(unix.RTM_GETLINK, getLink(0)); err != nil || len(ms) == 0 {
		t.Errorf("%d links, %v", len(ms), err)
	}
}

func TestAnswerGivenUpDoesNotBlockTheNext(t *testing.T) {
	c := dial(t)
	for range 3 {
		if _, err := c.send(unix.RTM_GETLINK, unix.NLM_F_DUMP, getLink(0)); err != nil {
			t.Fatal(err)
		}
		c.unread = true
		if ms, err := c.Dump(unix.RTM_GETLINK, getLink(0)); err != nil || len(ms) == 0 {
			t.Errorf("%d links, %v", len(ms), err)
		}
	}
}

func TestClosed(t *testing.T) {
	c := dial(t)
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(unix.RTM_GETLINK, getLink(1)); !errors.Is(err, unix.EBADF) {
		t.Errorf("a request after close: %v", err)
	}
}

func TestRequestsFromManyGoroutines(t *testing.T) {
	c := dial(t)
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			var err error
			for range 50 {
				b, e := c.Get(unix.RTM_GETLINK, getLink(1))
				if e == nil && b[4] != 1 {
					e = errors.New("the answer to another's question")
				}
				err = errors.Join(err, e)
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
