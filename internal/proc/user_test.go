package proc

import (
	"os"
	"testing"
)

func TestUserOf(t *testing.T) {
	want := User{Real: uint32(os.Getuid()), Effective: uint32(os.Geteuid())}
	if got, err := UserOf(os.Getpid()); err != nil || got != want {
		t.Errorf("the test is run by %+v, %v, want %+v", got, err, want)
	}
	if got, err := UserOf(1 << 22); err == nil { // above pid_max
		t.Errorf("no process is run by %+v", got)
	}
}

func TestParseUser(t *testing.T) {
	for name, c := range map[string]struct {
		status string
		want   User
		ok     bool
	}{
		"plain":           {"Name:\tcat\nUid:\t0\t1000\t1000\t1000\nGid:\t5\t5\t5\t5\n", User{0, 1000}, true},
		"hostile name":    {"Name:\tUid:\\nUid:\t0 0\nUid:\t7\t7\t7\t7\n", User{7, 7}, true},
		"not in this map": {"Uid:\t4294967295\t4294967295\t0\t0\n", User{1<<32 - 1, 1<<32 - 1}, true},
		"none":            {"Name:\tcat\n", User{}, false},
		"no numbers":      {"Uid:\tx\ty\n", User{}, false},
		"one":             {"Uid:\t1\n", User{}, false},
	} {
		if got, err := parseUser([]byte(c.status)); (err == nil) != c.ok || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, c.want)
		}
	}
}
