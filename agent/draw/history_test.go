package draw

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
)

func TestDrawHistory(t *testing.T) {
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(us int) time.Time { return begin.Add(time.Duration(us) * time.Microsecond) }
	boot := &path.Boot{Begin: begin, Watched: true}
	for i, us := range []int{2_500, 30_000, 140_000, 140_000, 1_100_000, 1_200_000, 2_000_000} {
		boot = boot.With(path.Phases[i], at(us))
	}
	events := []path.Event{
		{Time: at(2_000), Kind: path.Bound, Text: "sandbox bound to the slot"},
		{Time: at(140_000), Kind: path.CarrierUp, Text: "carrier on tap0"},
		{Time: at(9_000_000), Kind: path.VMMExited, HeldTap: path.Yes, Text: "qemu-system-x86 (pid 42) was killed by SIGKILL"},
		{Time: at(9_000_412), Kind: path.CarrierLost, Text: "NO-CARRIER on tap0"},
	}
	for name, h := range map[string]path.History{
		"lived":      {Lived: path.Lived{SandboxID: "i1", Name: "healthy", Netns: "ns-7", Gone: at(60_000_000)}, Boot: boot, Events: events},
		"unseen":     {Lived: path.Lived{SandboxID: "i2", Netns: "ns-8"}, Boot: &path.Boot{Begin: begin}, Events: events[:1], Dropped: 3},
		"unfinished": {Lived: path.Lived{SandboxID: "i4", Netns: "ns-9"}, Boot: (&path.Boot{Begin: begin, Watched: true}).With(path.VMMStarted, at(30_000))},
		"no-boot":    {Lived: path.Lived{SandboxID: "i3", Netns: "ns-9"}},
	} {
		want, err := os.ReadFile(filepath.Join("testdata", "history-"+name+".txt"))
		if err != nil {
			t.Error(err)
		}
		var got strings.Builder
		History(&got, h, Screen{})
		if got.String() != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.String(), want)
		}
	}
}
