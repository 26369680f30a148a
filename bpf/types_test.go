package bpf

import (
	"runtime"
	"testing"
	"time"
)

func TestTypesAreSharedAndNotKept(t *testing.T) {
	one := Types()
	if Types() != one {
		t.Error("what is in use is read again")
	}
	gone := make(chan bool)
	runtime.AddCleanup(one, func(gone chan bool) { close(gone) }, gone)
	runtime.KeepAlive(one)
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
