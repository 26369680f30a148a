package link

import (
	"testing"
	"time"

	"tapwatch/internal/netns"
)

// What is asked for after the loop looked for such work, and before it sets its time
// to wake up at, is not slept over.
func TestArmSeesWhatWasAskedFor(t *testing.T) {
	for what, ask := range map[string]func(*Watcher){
		"AddNamespace": func(w *Watcher) { w.AddNamespace(1) },
		"Recheck":      func(w *Watcher) { w.Recheck(netns.Device{Netns: 77, Ifindex: 2}) },
	} {
		w, err := New(Config{Resolve: func(netns.NSID) (netns.Cookie, bool) { return 0, false }})
		if err != nil {
			t.Fatal(err)
		}
		ask(w) // no socket yet: the loop would be woken, and then arm undoes that
		if w.arm(t.Context(), time.Time{}) {
			t.Errorf("%s: the loop would wait", what)
		}
	}
}
