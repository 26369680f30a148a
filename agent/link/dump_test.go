package link

import (
	"fmt"
	"testing"

	"tapwatch/internal/netns"
)

// A namespace that cannot be read in peace lets all others go first, and is given up
// in the end.
func TestPutOff(t *testing.T) {
	var q dumpQueue
	for id := range netns.NSID(3) {
		q.add(id)
	}
	var order []netns.NSID
	for id, ok := q.take(); ok; id, ok = q.take() {
		order = append(order, id)
		if id == 0 && !q.putOff(id) {
			break
		}
	}
	if want := "[0 1 2 0 0 0]"; fmt.Sprint(order) != want {
		t.Errorf("read %v, want %s", order, want)
	}
	if q.late[0] != 0 {
		t.Error("what was given up is not forgotten")
	}
}
