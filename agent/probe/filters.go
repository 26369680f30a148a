package probe

import (
	"errors"
	"fmt"
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

type direction struct {
	parent uint32 // tc
	tcx    ebpf.AttachType
	name   string // of the program for tc and tcx, and what the filter's begins with
	global string // of the program for tracepoints
}

// directions are receive and transmit, and how each mode hooks them.
var directions = []direction{
	{netlink.HANDLE_MIN_INGRESS, ebpf.AttachTCXIngress, bpf.TapProgTapwatchRx, bpf.TapProgTapwatchAllRx},
	{netlink.HANDLE_MIN_EGRESS, ebpf.AttachTCXEgress, bpf.TapProgTapwatchTx, bpf.TapProgTapwatchAllTx},
}

func (h hooks) filterAttrs(d netns.Device, direction int) netlink.FilterAttrs {
	return netlink.FilterAttrs{
		LinkIndex: int(d.Ifindex),
		Parent:    directions[direction].parent,
		Handle:    h.owner.handle(),
		Priority:  filterPriority,
		Protocol:  unix.ETH_P_ALL,
	}
}

// replaceFilter puts a filter on the device of the present namespace. Clsact says
// that we made its qdisc.
func (h hooks) replaceFilter(d netns.Device, direction int, prog *ebpf.Program, clsact bool) error {
	err := netlink.FilterReplace(&netlink.BpfFilter{
		FilterAttrs:  h.filterAttrs(d, direction),
		Fd:           prog.FD(),
		Name:         h.label(direction, clsact),
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

// removeFilters removes our own filters from the device of the present namespace,
// and no others.
func (h hooks) removeFilters(d netns.Device) error {
	return removeFilters(d, func(l label) bool { return l.owner == h.owner })
}

// removeFilters removes the filters of some owners.
func removeFilters(d netns.Device, which func(label) bool) error {
	l, err := netlink.LinkByIndex(int(d.Ifindex))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find device: %w", err)
	}
	for _, dir := range directions {
		filters, err := netlink.FilterList(l, dir.parent)
		if err != nil {
			return fmt.Errorf("list filters: %w", err)
		}
		for _, f := range filters {
			of, ok := labelOf(f)
			if !ok || of.program != dir.name || of.owner == 0 || !which(of) {
				continue
			}
			attrs := *f.Attrs()
			attrs.Parent = dir.parent
			if err := netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: attrs}); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("remove filter %s: %w", dir.name, err)
			}
		}
	}
	return nil
}

func (h hooks) ours(f netlink.Filter, name string) bool {
	of, ok := labelOf(f)
	return ok && of.program == name && of.owner == h.owner
}

func labelOf(f netlink.Filter) (label, bool) {
	b, ok := f.(*netlink.BpfFilter)
	if !ok {
		return label{}, false
	}
	return parseLabel(b.Name)
}
