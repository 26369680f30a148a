package proc

import (
	"os"
	"strconv"
	"testing"
)

func TestNumbersHere(t *testing.T) {
	n, err := NumbersHere()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Readlink("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	if own := self == strconv.Itoa(os.Getpid()); n.Own != own || n.Inode == 0 {
		t.Errorf("%+v, and /proc/self is %s of pid %d", n, self, os.Getpid())
	}
}

func TestNumbers(t *testing.T) {
	for name, c := range map[string]struct {
		n      Numbers
		host   bool
		kernel uint32
	}{
		"host":                     {Numbers{hostInode, true}, true, 0},
		"container":                {Numbers{4026532001, true}, false, 4026532001},
		"container, host's /proc":  {Numbers{hostInode, false}, false, 0},
		"container, other's /proc": {Numbers{4026532001, false}, false, 4026532001},
		"unknown":                  {Numbers{}, false, 0},
	} {
		if c.n.Host() != c.host || c.n.KernelInode() != c.kernel {
			t.Errorf("%s: host %v, inode %d", name, c.n.Host(), c.n.KernelInode())
		}
	}
}

func TestParseDepth(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tcat\nNSpid:\t7\n":                 1,
		"NStgid:\t7\t1\nNSpid:\t7\t1\n":           2,
		"Name:\tNSpid: 1 2 3\nNSpid:\t7\nNSpgid:": 1,
		"Name:\tcat\n":                            0,
		"NSpid:\n":                                0,
	} {
		if n, err := parseDepth([]byte(status)); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v, want %d", status, n, err, want)
		}
	}
}
