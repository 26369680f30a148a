// Package inspect looks closely at one slot: at what no event tells of and no
// counter shows. It holds nothing open, and only reads, but for AskNeighbour.
package inspect

import (
	"errors"
	"io"
	"os"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
)

// Forwards reports whether a namespace forwards IPv4.
func Forwards(ns string) (yes path.Tristate, err error) {
	err = netns.Do(ns, func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward") // of the thread's namespace
		if err == nil {
			yes = path.Known(strings.TrimSpace(string(b)) != "0")
		}
		return err
	})
	return yes, err
}

// consoleTail is how much of a console's end is looked at.
const consoleTail = 64 << 10

// Said is what a console said when it had this size.
type Said struct {
	size   int64
	Faults []path.ConsoleFault
}

// Console finds what a guest's kernel and init say of their failure. A file that
// is not there says nothing; one that has not grown says what it said before, as does one
// that went with its VMM.
func Console(file string, before Said) (Said, error) {
	info, err := os.Stat(file)
	if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(file, "/proc/") {
		return before, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return Said{}, nil
	}
	if err != nil {
		return Said{}, err
	}
	if info.Size() == before.size || !info.Mode().IsRegular() { // a terminal would wait
		return before, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return Said{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-consoleTail), consoleTail))
	if err != nil {
		return Said{}, err
	}
	return Said{info.Size(), consoleFaults(b)}, nil
}
