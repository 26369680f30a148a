package discover

import (
	"net/netip"
	"strconv"
	"strings"
)

// E2B's addresses and names, which its slots are known by. The address plan is
// 10.12.0.0/16 in pairs: veth 2i, vpeer 2i+1.
const (
	e2bTap      = "tap0"
	e2bGuestIP  = "169.254.0.21"
	e2bMaxIndex = 1<<15 - 1
)

// e2bIndex reads the slot's number from ns-{number}. It is asked of every name at
// every merge.
func e2bIndex(name string) (digits string, ok bool) {
	digits, ok = strings.CutPrefix(name, "ns-")
	if !ok || len(digits) < 1 || len(digits) > 9 || digits[0] == '0' {
		return "", false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	return digits, true
}

// e2bSlot reads a slot's facts from its namespace's name.
func e2bSlot(name string) (b Binding, ok bool) {
	digits, ok := e2bIndex(name)
	if !ok {
		return b, false
	}
	b.Index, _ = strconv.Atoi(digits) // at most nine
	b.HostVeth = "veth-" + digits
	b.Tap, b.GuestIP = e2bTap, e2bGuestIP
	if b.Index <= e2bMaxIndex {
		n := 2*b.Index + 1
		b.VpeerIP = netip.AddrFrom4([4]byte{10, 12, byte(n >> 8), byte(n)}).String()
		b.HostIP = netip.AddrFrom4([4]byte{10, 11, byte(b.Index >> 8), byte(b.Index)}).String()
	}
	return b, true
}
