package sandbox

import (
	"errors"
	"strings"
	"testing"
)

func TestRoom(t *testing.T) {
	r := &room{sandboxes: 4, perOwner: 2, memoryMiB: 3 * (256 + overheadMiB), owners: map[string]int{}}
	take := func(owner string, mib int) func() {
		t.Helper()
		leave, err := r.take(owner, mib)
		if err != nil {
			t.Fatal(err)
		}
		return leave
	}
	refused := func(owner string, mib int, why string, quota bool) {
		t.Helper()
		var busy *BusyError
		if _, err := r.take(owner, mib); !errors.As(err, &busy) || busy.Quota != quota || !strings.Contains(busy.Why, why) || busy.Retry <= 0 {
			t.Errorf("%v, want %q", err, why)
		}
	}
	first := take("a", 256)
	take("a", 256)
	refused("a", 256, "this API key has 2", true)
	refused("b", 512, "no memory left", false)
	take("b", 128)
	refused("c", 256, "no memory left", false)
	take("c", 32)
	refused("d", 1, "there are 4", false)
	first()
	first() // gives nothing back twice
	if r.taken != 3 || r.owners["a"] != 1 {
		t.Errorf("%d taken, %v", r.taken, r.owners)
	}
	take("a", 256)
}

func TestMemoryForSandboxes(t *testing.T) {
	if mib := memoryForSandboxes(); mib < 64 {
		t.Errorf("%d MiB", mib)
	}
}
