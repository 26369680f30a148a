package probe

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// namespaces returns a file for each namespace that can be reached: its name's, or
// that of a process in it.
func namespaces() (paths []string, err error) {
	names, err := os.ReadDir(netns.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	all := []string{netns.Own}
	for _, n := range names {
		all = append(all, netns.Path(n.Name()))
	}
	held, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	all = append(all, held...)
	seen := map[fileID]bool{{}: true}
	for _, path := range all {
		if id := idOf(path); !seen[id] {
			seen[id] = true
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// fileID tells files apart while they exist.
type fileID struct{ device, inode uint64 }

// idOf is zero for a file that has gone.
func idOf(path string) fileID {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileID{}
	}
	return fileID{st.Dev, st.Ino}
}

// listTries is how often devices are listed while others come and go.
const listTries = 20

// listLinks lists the devices of the thread's namespace; a list that a change
// interrupted is made again, it may lack a device.
func listLinks() (links []netlink.Link, err error) {
	for range listTries {
		if links, err = netlink.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return links, err
}
