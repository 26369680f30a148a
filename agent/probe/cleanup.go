package probe

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
)

// cleaner goes from device to device.
type cleaner struct {
	hooks // of the directory that is cleaned; its owner is zero where nothing of it is to go
	alive map[Owner]*Living
	waits map[label]bool // of dead owners, by directory: their directory is still there
	left  map[Owner]*Left
	done  Cleaned
}

// Cleanup removes, from the devices of all namespaces that can be reached, the
// filters of agents that no longer live, and the clsact qdiscs that they made and
// nobody uses: those of the agent of hooksDir (as in Config; "" is none), and of
// agents whose directory is not to be found. It touches nothing of a living agent,
// in whatever mount or PID namespace that lives, nor of a dead one of another
// directory that is still there: it may be about to start again. It needs
// CAP_SYS_ADMIN.
func Cleanup(hooksDir string) (Cleaned, error) {
	paths, err := namespaces()
	if err != nil {
		return Cleaned{}, fmt.Errorf("list namespaces: %w", err)
	}
	return cleanIn(paths, hooksDir)
}

func cleanIn(paths []string, hooksDir string) (Cleaned, error) {
	c, err := newCleaner(hooksDir)
	if err != nil {
		return Cleaned{}, err
	}
	var errs []error
	for _, path := range paths {
		if err := netns.Do(path, c.cleanCurrent); err != nil && !errors.Is(err, netns.ErrNotExist) {
			errs = append(errs, fmt.Errorf("clean %s: %w", path, err))
		}
	}
	for _, o := range slices.Sorted(maps.Keys(c.left)) {
		c.done.Left = append(c.done.Left, *c.left[o])
	}
	if hooksDir != "" && c.alive[c.owner] == nil {
		errs = append(errs, c.forgetAll())
	}
	return c.done, errors.Join(errs...)
}

func newCleaner(hooksDir string) (*cleaner, error) {
	c := &cleaner{alive: map[Owner]*Living{}, waits: map[label]bool{}, left: map[Owner]*Left{}}
	if hooksDir != "" {
		c.hooks = newHooks(hooksDir)
	}
	all, err := living()
	if err != nil {
		return nil, fmt.Errorf("find out which agents live: %w", err)
	}
	for _, l := range all {
		c.alive[l.owner] = &l
	}
	return c, nil
}

// forgetAll removes what is left in the directory: notes of namespaces that are
// gone, hooks and all.
func (h hooks) forgetAll() error {
	var errs []error
	notes, _ := filepath.Glob(filepath.Join(h.dir, "*-*"))
	for _, n := range notes {
		errs = append(errs, removeIfThere(n))
	}
	return errors.Join(append(errs, disown(h.dir))...)
}

// cleanCurrent cleans the devices of the present namespace.
func (c *cleaner) cleanCurrent() error {
	cookie, err := netns.Current()
	if err != nil {
		return err
	}
	links, err := listLinks()
	if err != nil {
		return fmt.Errorf("list devices: %w", err)
	}
	for _, l := range links {
		if err := c.clean(netns.Device{Netns: cookie, Ifindex: netns.Ifindex(l.Attrs().Index)}, l); err != nil {
			return err
		}
	}
	return nil
}

func (c *cleaner) clean(d netns.Device, l netlink.Link) error {
	labels, err := labelsOn(l)
	if err != nil {
		return err
	}
	noted := c.dir != "" && c.alive[c.owner] == nil && c.made(d)
	own, drop, dead := noted, noted, map[Owner]bool{}
	for of := range labels {
		if !c.mayGo(of) {
			continue
		}
		dead[of.owner] = true
		own = own || of.owner == c.owner
		drop = drop || of.clsact
	}
	c.keep(labels, dead)
	if len(dead) > 0 {
		if err := removeFilters(d, func(of label) bool { return dead[of.owner] }); err != nil {
			return err
		}
	}
	if drop {
		if err := dropUnused(d); err != nil {
			return err
		}
	}
	switch {
	case own:
		c.done.Own++
	case len(dead) > 0:
		c.done.Orphans++
	}
	if noted {
		return c.forget(d)
	}
	return nil
}

// mayGo says whether a filter with that label belongs to nobody any more.
func (c *cleaner) mayGo(of label) bool {
	if of.owner == 0 || c.alive[of.owner] != nil {
		return false
	}
	if of.owner == c.owner {
		return true
	}
	if of.dir == "" {
		return true // too long a path to be told
	}
	place := label{owner: of.owner, dir: of.dir}
	waits, known := c.waits[place]
	if !known {
		waits = readOwner(of.dir) == of.owner
		c.waits[place] = waits
	}
	return !waits
}

// keep notes whose filters stay on a device.
func (c *cleaner) keep(labels map[label]bool, dead map[Owner]bool) {
	here := map[Owner]bool{}
	for of := range labels {
		if dead[of.owner] || here[of.owner] {
			continue
		}
		here[of.owner] = true
		if c.left[of.owner] == nil {
			c.left[of.owner] = &Left{Owner: of.owner, Dir: of.dir, Agent: c.alive[of.owner]}
		}
		c.left[of.owner].Devices++
	}
}

// labelsOn returns the labels of the filters of any agent on a device.
func labelsOn(l netlink.Link) (map[label]bool, error) {
	labels := map[label]bool{}
	for _, dir := range directions {
		filters, err := netlink.FilterList(l, dir.parent)
		if err != nil {
			return nil, fmt.Errorf("list filters: %w", err)
		}
		for _, f := range filters {
			if of, ok := labelOf(f); ok {
				labels[of] = true
			}
		}
	}
	return labels, nil
}
