package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// Cleanup removes what a killed agent left on the devices of all namespaces but
// the present one: our filters, and the clsact qdiscs noted as ours. It returns how
// many devices it cleaned. hooksDir as in Config.
func Cleanup(hooksDir string) (int, error) {
	h := newHooks(hooksDir)
	paths, err := namespaces()
	if err != nil {
		return 0, fmt.Errorf("list namespaces: %w", err)
	}
	cleaned := 0
	var errs []error
	for _, path := range paths {
		err := netns.Do(path, func() error {
			n, err := h.cleanCurrent()
			cleaned += n
			return err
		})
		if err != nil && !errors.Is(err, netns.ErrNotExist) {
			errs = append(errs, fmt.Errorf("clean %s: %w", path, err))
		}
	}
	// Notes that are left belong to namespaces that are gone, hooks and all.
	notes, _ := filepath.Glob(filepath.Join(h.dir, "*-*"))
	for _, n := range notes {
		errs = append(errs, os.Remove(n))
	}
	_ = os.Remove(h.dir)
	return cleaned, errors.Join(errs...)
}

// namespaces returns a file for each namespace but the present one: its name's,
// or that of a process in it.
func namespaces() (paths []string, err error) {
	names, err := os.ReadDir(netns.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []string
	for _, n := range names {
		all = append(all, netns.Path(n.Name()))
	}
	held, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	all = append(all, held...)
	seen := map[fileID]bool{idOf("/proc/thread-self/ns/net"): true, {}: true}
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

func (h hooks) cleanCurrent() (int, error) {
	cookie, err := netns.Current()
	if err != nil {
		return 0, err
	}
	links, err := listLinks()
	if err != nil {
		return 0, fmt.Errorf("list devices: %w", err)
	}
	cleaned := 0
	for _, l := range links {
		d := netns.Device{Netns: cookie, Ifindex: netns.Ifindex(l.Attrs().Index)}
		has, err := h.hasOurs(l)
		if err != nil {
			return cleaned, err
		}
		if !has && !h.made(d) {
			continue
		}
		if err := errors.Join(h.removeFilters(d), h.dropClsact(d, h.made(d))); err != nil {
			return cleaned, err
		}
		cleaned++
	}
	return cleaned, nil
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

func (h hooks) hasOurs(l netlink.Link) (bool, error) {
	for _, dir := range directions {
		filters, err := netlink.FilterList(l, dir.parent)
		if err != nil {
			return false, fmt.Errorf("list filters: %w", err)
		}
		for _, f := range filters {
			if h.ours(f, dir.name) {
				return true, nil
			}
		}
	}
	return false, nil
}
