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

// guestMACs returns the addresses that the VMM was told to give the guest's NIC on
// the slot's tap.
func guestMACs(f path.Facts) (macs []string) {
	interfaces, _ := told(f)
	for _, i := range interfaces {
		if i.Device == f.Device.Name && i.GuestMAC != "" {
			macs = append(macs, i.GuestMAC)
		}
	}
	slices.Sort(macs)
	return macs
}

// apiSays is the evidence that an answer gives.
func apiSays(f path.Facts) string {
	api := f.Sandbox.API
	text := fmt.Sprintf("GET / at %s, %s: state %q", api.Socket, ago(f.Now, api.Time), api.State)
	if api.State == "" {
		text = "GET /vm/config at " + api.Socket
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
