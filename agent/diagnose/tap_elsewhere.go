package diagnose

import (
	"fmt"
	"strings"

	"tapwatch/agent/path"
)

var tapElsewhere = Check{
	Code:     "tap-elsewhere",
	Title:    "The tap is in another namespace",
	Hop:      path.Tap,
	Severity: path.Critical,
	InBoot:   true,
	Run: func(f path.Facts) Result {
		if f.Device.Exists == path.Yes {
			return madeItsOwn(f)
		}
		if f.Device.Exists != path.No {
			return notApplicable()
		}
		h, ok := held(f, func(h path.HeldTap) bool { return !h.Here })
		if !ok {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause: fmt.Sprintf("%s is not in %s: the VMM's tap is %s in %s", f.Device.Name, where(f), h.Device, named(h.Netns)),
			Evidence: []string{where(f) + " has no device " + f.Device.Name,
				fmt.Sprintf("the VMM (pid %d) has %s of %s open", f.Sandbox.VMMPID, h.Device, named(h.Netns))},
			Fix: "bring it back (" + ipIn(h.Netns) + " link set " + h.Device + " netns " + f.Netns + ", then give it its address and set it up), or " + slotAnew(f),
		})
	},
}

// madeItsOwn finds a VMM that did not find its tap and made another of that name,
// without a word, as a VMM does that opens a tap which is not there.
func madeItsOwn(f path.Facts) Result {
	d := f.Device
	h, ok := held(f, func(h path.HeldTap) bool { return h.Here && h.Device == d.Name })
	if f.Launcher == "" || d.Persistent != path.No || len(d.Elsewhere) == 0 || len(f.Inside.TapAddrs) > 0 || d.Bridge != "" || !ok {
		return notApplicable()
	}
	there := strings.Join(d.Elsewhere, ", ")
	return wrong(path.Finding{
		Cause: fmt.Sprintf("the slot's %s was made in %s: the VMM (pid %d) did not find it in %s and made one of its own, which nothing leads to", d.Name, there, f.Sandbox.VMMPID, where(f)),
		Evidence: []string{
			fmt.Sprintf("%s in %s goes with its holder (it is not persistent) and has no address; the VMM holds it", h.Device, where(f)),
			fmt.Sprintf("a persistent %s, which nobody holds, is in %s, where no slot is", d.Name, there),
		},
		Fix: "make the tap inside the slot's namespace (" + ip(f) + " tuntap add " + d.Name + " mode tap) before the VMM starts; then " + anew(f),
	})
}
