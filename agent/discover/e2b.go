package discover

import "tapwatch/internal/e2b"

// e2bSlot reads a slot's facts from its namespace's name. It is asked of every name
// at every merge.
func e2bSlot(name string) (b Binding, ok bool) {
	b.Index, ok = e2b.Index(name)
	if !ok {
		return Binding{}, false
	}
	b.HostVeth = e2b.HostVeth(b.Index)
	b.Tap, b.GuestIP = e2b.Tap, e2b.GuestAddr
	if s, ok := e2b.DefaultPlan().Slot(b.Index); ok {
		b.VpeerIP, b.HostIP = s.VpeerIP.String(), s.HostIP.String()
	}
	return b, true
}
