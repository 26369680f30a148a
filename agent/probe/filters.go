package probe

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/bpf"
	"tapwatch/internal/netns"
)

// filterPriority is the first there is. A bpf filter that is added later at the
// same priority runs before those that are there, so ours is reached whatever
// bpf filters it finds; those that come after us come before us.
const filterPriority = 1

// directions are receive and transmit, and how each mode hooks them.
var directions = []struct {
	parent uint32 // tc
	tcx    ebpf.AttachType
	name   string // of the program for tc and tcx, and of the filter
	global string // of the program for tracepoints
}{
	{netlink.HANDLE_MIN_INGRESS, ebpf.AttachTCXIngress, bpf.TapProgTapwatchRx, bpf.TapProgTapwatchAllRx},
	{netlink.HANDLE_MIN_EGRESS, ebpf.AttachTCXEgress, bpf.TapProgTapwatchTx, bpf.TapProgTapwatchAllTx},
}

// handleOf gives the filters of one agent their handle: the same after a restart,
// so that they are replaced in place, and another for an agent with another run
// directory, so that two of them do not replace each other's.
func handleOf(dir string) uint32 {
	f := fnv.New32a()
	f.Write([]byte(dir))
	return 0x7477<<16 | f.Sum32()&0xffff // "tw"
}

func (h hooks) filterAttrs(d netns.Device, direction int) netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: int(d.Ifindex),
		Parent:    directions[direction].parent,
		Handle:    h.handle,
		Priority:  filterPriority,
		Protocol:  unix.ETH_P_ALL,
	}
}

func (h hooks) replaceFilter(d netns.Device, direction int, prog *ebpf.Program) error {
	err := netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs:  h.filterAttrs(d, direction),
		Fd:           prog.FD(),
		Name:         directions[direction].name,
		DirectAction: true,
	})
	if errors.Is(err, unix.EINVAL) { // what the kernel says of a priority with another kind of filter
		return fmt.Errorf("add filter %s: %w", directions[direction].name, ErrPriorityTaken)
	}
	if err != nil {
		return fmt.Errorf("add filter %s: %w", directions[direction].name, err)
	}
	return nil
}

// filtersOf returns our filter of each direction, nil where there is none.
func (h hooks) filtersOf(d netns.Device) ([]*netlink.BpfFilter, error) {
	l, err := netlink.LinkByIndex(int(d.Ifindex))
	if err != nil {
		return nil, fmt.Errorf("find device: %w", err)
	}
	ours := make([]*netlink.BpfFilter, len(directions))
	for i, dir := range directions {
		filters, err := netlink.FilterList(l, dir.parent)
		if err != nil {
			return nil, fmt.Errorf("list filters: %w", err)
		}
		for _, f := range filters {
			if h.ours(f, dir.name) {
				ours[i] = f.(*netlink.BpfFilter) // ours looked
			}
		}
	}
	return ours, nil
}

// removeFilters removes our own filters, by handle and name, and no others.
func (h hooks) removeFilters(d netns.Device) error {
	l, err := netlink.LinkByIndex(int(d.Ifindex))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find device: %w", err)
	}
	for i, dir := range directions {
		filters, err := netlink.FilterList(l, dir.parent)
		if err != nil {
			return fmt.Errorf("list filters: %w", err)
		}
		for _, f := range filters {
			if !h.ours(f, dir.name) {
				continue
			}
			attrs := h.filterAttrs(d, i)
			attrs.Priority = f.Attrs().Priority
			if err := netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: attrs}); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove filter %s: %w", dir.name, err)
			}
		}
	}
	return nil
}

func (h hooks) ours(f netlink.Filter, name string) bool {
	b, ok := f.(*netlink.BpfFilter)
	return ok && b.Handle == h.handle && b.Name == name
}
