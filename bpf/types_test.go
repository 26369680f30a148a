package bpf

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
)

func TestTypesAreSharedAndNotKept(t *testing.T) {
	let := ShareTypes()
	one, giveBack := Types()
	giveBack()
	gone := make(chan bool)
	runtime.AddCleanup(one, func(gone chan bool) { close(gone) }, gone)
	runtime.GC()
	other, giveBack := Types()
	giveBack()
	if other != one {
		t.Error("what is kept is read again")
	}
	let()
	for end := time.Now().Add(time.Minute); ; runtime.GC() {
		select {
		case <-gone:
			return
		default:
			if time.Now().After(end) {
				t.Fatal("they are kept though nobody uses them")
			}
		}
	}
}

// Types are decoded when they are asked for, which two must not do at once.
func TestTypesForMany(t *testing.T) {
	defer ShareTypes()()
	var g sync.WaitGroup
	for _, name := range []string{"sk_buff", "net_device", "task_struct", "sock", "net", "file"} {
		g.Go(func() {
			c, giveBack := Types()
			defer giveBack()
			kernel, err := c.Kernel()
			if err != nil {
				t.Error(err)
				return
			}
			var s *btf.Struct
			if err := kernel.TypeByName(name, &s); err != nil || len(s.Members) == 0 {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	g.Wait()
}
