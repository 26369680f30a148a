package caps

import (
	"os"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOwnIsWhatTheKernelShows(t *testing.T) {
	b, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`CapEff:\s*([0-9a-f]+)`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no CapEff in %s", b)
	}
	shown, err := Parse(string(m[1]))
	own, err2 := Own()
	if err != nil || err2 != nil || own != shown {
		t.Errorf("own %#x, %v; shown %#x, %v", own, err2, shown, err)
	}
}

func TestSet(t *testing.T) {
	s, err := Parse("0000008000001000") // CAP_BPF and CAP_NET_ADMIN
	if err != nil || !s.Has(unix.CAP_BPF) || !s.Has(unix.CAP_NET_ADMIN) || s.Has(unix.CAP_SYS_ADMIN) {
		t.Errorf("%#x, %v", s, err)
	}
	if (Set(0)).With(unix.CAP_BPF).With(unix.CAP_NET_ADMIN) != s {
		t.Error("With makes another set")
	}
	if _, err := Parse("x"); err == nil {
		t.Error("x is a set")
	}
	if got := Cap(unix.CAP_NET_ADMIN).String() + ", " + Cap(63).String(); got != "CAP_NET_ADMIN, capability 63" {
		t.Error(got)
	}
}
