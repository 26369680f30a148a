package discover

import (
	"net/netip"
	"regexp"
	"strconv"
)

// E2B's addresses and names, which its slots are known by. The address plan is
// 10.12.0.0/16 in pairs: veth 2i, vpeer 2i+1.
const (
	e2bTap      = "tap0"
	e2bGuestIP  = "169.254.0.21"
	e2bMaxIndex = 1<<15 - 1
)

var e2bName = regexp.MustCompile(`^ns-([1-9][0-9]{0,8})$`)

// e2bSlot reads a slot's facts from its namespace's name.
func e2bSlot(name string) (b Binding, ok bool) {
	m := e2bName.FindStringSubmatch(name)
	if m == nil {
		return b, false
	}
	b.Index, _ = strconv.Atoi(m[1]) // at most nine digits
	b.HostVeth = "veth-" + m[1]
	b.Tap, b.GuestIP = e2bTap, e2bGuestIP
	if b.Index <= e2bMaxIndex {
		n := 2*b.Index + 1
		b.VpeerIP = netip.AddrFrom4([4]byte{10, 12, byte(n >> 8), byte(n)}).String()
	}
	return b, true
}
