package sandbox

import (
	"golang.org/x/sys/unix"
)

// A connection takes two files in each layer, and two more while it is spliced. Both
// layers together may take two thirds of the process's files, one sandbox a quarter, so
// that the others, the control API and the metrics always find some.
const (
	shareOfLayer   = 6  // of the files, for connections of one layer
	shareOfSandbox = 16 // likewise, for those to one sandbox

	mostConnections = 4096
	connectRate     = 2000 // new connections to one sandbox a second
)

func maxOpen() int { return files() / shareOfLayer }

func maxConnections() int { return min(mostConnections, files()/shareOfSandbox) }

// files is how many this process may have open; the runtime has raised the soft limit
// to the hard one.
func files() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(limit.Cur, 1<<20))
}
