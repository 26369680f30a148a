package discover

import (
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Whatever the socket receives, what cannot be read is told as a namespace that
// may have been missed, and never as one that went.
func FuzzNSIDs(f *testing.F) {
	f.Add([]byte{28, 0, 0, 0, unix.RTM_DELNSID, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0, 7, 0, 0, 0})
	f.Add([]byte{16, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := &nsids{gone: make(chan netns.NSID, len(b)+1)}
		n.parse(b)
		close(n.gone)
		for id := range n.gone {
			if id < netns.NoNSID {
				t.Errorf("nsid %d has gone", id)
			}
		}
	})
}
