package config

import (
	"os"
	"testing"
	"time"
)

func TestIgnoreMatches(t *testing.T) {
	for _, tt := range []struct {
		ignore                string
		netns, device, holder string
		want                  bool
	}{
		{"device=tailscale*", "", "tailscale0", "tailscaled", true},
		{"device=tailscale*", "", "tap0", "tailscaled", false},
		{"netns=ns-*,holder=qemu*", "ns-1", "tap0", "qemu-system-x86", true},
		{"netns=ns-*,holder=qemu*", "ns-1", "tap0", "firecracker", false},
		{"holder=*", "ns-1", "tap0", "", false}, // the holder is not known
		{"netns=*", "", "tap0", "qemu", false},  // the namespace has no name
		{"device=tap[0-9]", "", "tap3", "", true},
	} {
		i, err := ParseIgnore(tt.ignore)
		if err != nil {
			t.Fatal(err)
		}
		if got := i.Matches(tt.netns, tt.device, tt.holder); got != tt.want {
			t.Errorf("%s matches %q %q %q: %v", tt.ignore, tt.netns, tt.device, tt.holder, got)
		}
		if i.String() != tt.ignore {
			t.Errorf("%s is written %s", tt.ignore, i)
		}
	}
}

// A duration counts from the last change of the file, whenever it is read.
func TestSilence(t *testing.T) {
	name := write(t, "silence:\n  - {netns: 'ns-*', for: 2h, reason: moving}\n  - {sandbox: i1, until: 2030-01-02T03:04:05+02:00}\n")
	changed := time.Date(2029, 1, 1, 12, 0, 0, 0, time.UTC)
	if err := os.Chtimes(name, changed, changed); err != nil {
		t.Fatal(err)
	}
	_, c, err := load(Loader{File: name})
	if err != nil {
		t.Fatal(err)
	}
	moving, i1 := c.Silence[0], c.Silence[1]
	if !moving.Until.Equal(changed.Add(2*time.Hour)) || moving.Reason != "moving" || !i1.Until.Equal(time.Date(2030, 1, 2, 1, 4, 5, 0, time.UTC)) {
		t.Errorf("%+v", c.Silence)
	}
	for _, tt := range []struct {
		silence        Silence
		netns, sandbox string
		now            time.Time
		want           bool
	}{
		{moving, "ns-1", "", changed.Add(time.Hour), true},
		{moving, "ns-1", "i2", changed.Add(2 * time.Hour), false},
		{moving, "other", "i2", changed, false},
		{moving, "", "i2", changed, false},
		{i1, "ns-1", "i1", changed, true},
		{i1, "ns-1", "", changed, false},
	} {
		if got := tt.silence.Matches(tt.netns, tt.sandbox, tt.now); got != tt.want {
			t.Errorf("%+v matches %q %q at %s: %v", tt.silence, tt.netns, tt.sandbox, tt.now, got)
		}
	}
}
