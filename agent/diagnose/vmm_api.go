package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tapwatch/agent/path"
)

// What a VMM that has an API says of itself. One that was not asked, or did not
// answer, has said nothing: that is no finding of these.

// told returns what the VMM was told to give its guest; ok is false where that is
// not known.
func told(f path.Facts) (interfaces []path.VMMInterface, ok bool) {
	api := f.Sandbox.API
	if api == nil || api.Interfaces == nil {
		return nil, false
	}
	return api.Interfaces, true
}

// toldOther returns the interfaces that the VMM was told of, where none is on the
// slot's tap.
func toldOther(f path.Facts) (devices string, ok bool) {
	interfaces, known := told(f)
	if !known || len(interfaces) == 0 {
		return "", false
	}
	var names []string
	for _, i := range interfaces {
		if i.Device == f.Device.Name {
			return "", false
		}
		names = append(names, i.Device)
	}
	return strings.Join(names, ", "), true
}

// framesMAC is the guest's hardware address as its own frames say; empty: it has sent
// none with its address since the VMM attached.
func framesMAC(f path.Facts) string {
	t := f.Traffic
	if t == nil || t.GuestAddr != f.Device.GuestAddr || !sinceAttach(f, t.GuestSeen) {
		return ""
	}
	return t.GuestMAC
}

// guestMACs returns the hardware addresses that the guest's NIC on the slot's tap may
// have, and who says so: the guest's own frames, else the VMM's API, else its command
// line, which names those of all NICs.
func guestMACs(f path.Facts) (macs []string, says string) {
	if mac := framesMAC(f); mac != "" {
		return []string{mac}, fmt.Sprintf("the guest's own frames come from %s, the last with its address %s", mac, ago(f.Now, f.Traffic.GuestSeen))
	}
	interfaces, _ := told(f)
	for _, i := range interfaces {
		if i.Device == f.Device.Name && i.GuestMAC != "" {
			macs = append(macs, i.GuestMAC)
		}
	}
	if len(macs) > 0 {
		slices.Sort(macs)
		return macs, apiSays(f)
	}
	if macs = f.Sandbox.VMMMACs; len(macs) > 0 {
		return macs, fmt.Sprintf("the command line of the VMM (pid %d) names %s", f.Sandbox.VMMPID, strings.Join(macs, ", "))
	}
	return nil, ""
}

// apiSays is the evidence that an answer gives.
func apiSays(f path.Facts) string {
	api := f.Sandbox.API
	text := fmt.Sprintf("the VMM said by its API %s: state %q (GET / at %s)", ago(f.Now, api.Time), api.State, api.Socket)
	if api.State == "" {
		text = "the VMM said by its API: GET /vm/config at " + api.Socket
	}
	if api.Interfaces == nil {
		return text
	}
	var list []string
	for _, i := range api.Interfaces {
		list = append(list, fmt.Sprintf("%s on %s (guest_mac %s)", i.ID, i.Device, cmp.Or(i.GuestMAC, "none")))
	}
	return text + "; network interfaces: " + cmp.Or(strings.Join(list, ", "), "none")
}
