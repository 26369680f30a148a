package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"

	"tapwatch/internal/netns"
)

// attachTCX hooks the device of the present namespace, before all TCX programs
// that are there, so that none of them decides before we have counted. The
// links end with the process, whatever its end.
func (p *Probe) attachTCX(d netns.Device) (links []link.Link, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeLinks(links))
			links = nil
		}
	}()
	for _, dir := range directions {
		l, err := link.AttachTCX(link.TCXOptions{
			Interface: int(d.Ifindex),
			Program:   p.tap.Programs[dir.name],
			Attach:    dir.tcx,
			Anchor:    link.Head(),
		})
		if err != nil {
			return links, fmt.Errorf("attach tcx: %w", err)
		}
		links = append(links, l)
		if err := verifyLink(l, d); err != nil {
			return links, err
		}
	}
	return links, nil
}

// hasTCX says whether the device of the present namespace has TCX programs. A
// kernel that cannot say has none.
func hasTCX(d netns.Device) bool {
	for _, dir := range directions {
		q, err := link.QueryPrograms(link.QueryOptions{Target: int(d.Ifindex), Attach: dir.tcx})
		if err == nil && len(q.Programs) > 0 {
			return true
		}
	}
	return false
}

// verifyLink asks the kernel which device a link sits on.
func verifyLink(l link.Link, d netns.Device) error {
	info, err := l.Info()
	if err != nil {
		return fmt.Errorf("describe link: %w", err)
	}
	if tcx := info.TCX(); tcx == nil || tcx.Ifindex != uint32(d.Ifindex) {
		return fmt.Errorf("%w: the link is on %+v", ErrWrongDevice, tcx)
	}
	return nil
}

// linked says whether the links that hook a device still do. Those of the global
// tracepoints cannot be taken away.
func (a *attached) linked(d netns.Device) bool {
	for _, l := range a.links {
		if verifyLink(l, d) != nil {
			return false
		}
	}
	return true
}

func closeLinks(links []link.Link) error {
	var errs []error
	for _, l := range links {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
