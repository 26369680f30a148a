package main

import (
	"strings"
	"testing"
	"time"

	"tapwatch/agent/draw"
	"tapwatch/agent/path"
	"tapwatch/agent/top"
)

func TestReadSince(t *testing.T) {
	now := time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"10m":                  now.Add(-10 * time.Minute),
		"02:14":                time.Date(2026, 3, 1, 2, 14, 0, 0, time.UTC),
		"23:00:01":             time.Date(2026, 2, 28, 23, 0, 1, 0, time.UTC), // last night
		"2026-02-28":           time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC),
		"2026-02-28 01:02":     time.Date(2026, 2, 28, 1, 2, 0, 0, time.UTC),
		"2026-02-28T01:02:03Z": time.Date(2026, 2, 28, 1, 2, 3, 0, time.UTC),
	} {
		if got, err := readSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-3m", "soon", "25:00"} {
		if got, err := readSince(text, now); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestEventFilter(t *testing.T) {
	e := path.Event{Time: time.Unix(100, 0), Kind: path.CarrierLost, Netns: "ns-1", SandboxID: "i1", Name: "web"}
	for name, c := range map[string]struct {
		f    eventFilter
		want bool
	}{
		"all":         {eventFilter{}, true},
		"id":          {eventFilter{who: "i1"}, true},
		"name":        {eventFilter{who: "web"}, true},
		"namespace":   {eventFilter{who: "ns-1"}, true},
		"another":     {eventFilter{who: "ns-11"}, false},
		"kind":        {eventFilter{kinds: []path.EventKind{path.Bound, path.CarrierLost}}, true},
		"other kind":  {eventFilter{kinds: []path.EventKind{path.Bound}}, false},
		"since then":  {eventFilter{since: time.Unix(100, 0)}, true},
		"since later": {eventFilter{since: time.Unix(101, 0)}, false},
	} {
		if got := c.f.takes(e); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestDrawEvent holds that an event has its date, keeps within the screen, and that
// nothing that a stranger chose reaches the terminal as an escape.
func TestDrawEvent(t *testing.T) {
	e := path.Event{Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local), Kind: path.VMMExited, Netns: "ns-1", Name: "a\x1b]0;b\a", SandboxID: "i1",
		Text: "qemu-system-x86 (pid 42) was killed by SIGKILL, sent by bash (pid 7)\x1b[2J"}
	var plain, colored strings.Builder
	top.Event(&plain, e, draw.Screen{Width: 80})
	top.Event(&colored, e, draw.Screen{Width: 80, Color: true})
	keptWithin(t, plain.String(), 80)
	if !strings.HasPrefix(plain.String(), "2026-01-02 03:04:05.006  vmm-exited ") || strings.ContainsAny(plain.String(), "\x1b\a") {
		t.Errorf("%q", plain.String())
	}
	if got := strings.NewReplacer("\x1b[1;31m", "", "\x1b[0m", "").Replace(colored.String()); got != plain.String() {
		t.Errorf("coloured %q, plain %q", got, plain.String())
	}
}
