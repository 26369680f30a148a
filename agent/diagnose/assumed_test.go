package diagnose

import (
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// assumed has nothing but the namespace's name vouch for its addresses.
func assumed(f *path.Facts) { f.Assumed = true }

// TestAssumedAddresses: what contradicts an address that is only assumed is no fault.
func TestAssumedAddresses(t *testing.T) {
	tryCheck(t, hostRoute, []look{
		{"leads elsewhere", changed(assumed, leadsTo(toNamespace, "tun7")), "unknown", []string{"only assumed from its name"}},
		{"leads there", changed(assumed), "beside", nil},
	})
	tryCheck(t, dnatMissing, []look{
		{"no rule", changed(assumed, foreignPath, untranslated), "unknown", []string{"the addresses that the name of ns-7 leads to expect"}},
		{"no rule where a record says DNAT", changed(assumed, shape(registry.DNAT), untranslated), "unknown", nil},
	})
	tryCheck(t, relayNotListening, []look{
		{"none", changed(assumed, relayGone), "unknown", []string{"10.12.0.15:49983, an address that is only assumed from the name ns-7"}},
		{"listens", changed(assumed), "ok", nil},
		{"nobody knows where", changed(foreignPath, func(f *path.Facts) { f.Relay = path.Listener{} }), "unknown", []string{"where the proxy reaches ns-7 is not known"}},
	})
	tryCheck(t, relayWrongAddress, []look{
		{"listens elsewhere", changed(assumed, relayGone, relayElsewhere), "unknown", []string{"something listens on 127.0.0.1:49983", "only assumed from the name ns-7"}},
	})
	tryCheck(t, tapAddress, []look{
		{"another", changed(assumed, addressOther, synDropped), "beside", nil},
		{"none", changed(assumed, addressGone), "beside", nil},
	})
	for name, f := range map[string]path.Facts{
		"route": changed(assumed, leadsTo(toNamespace, "")), "dnat": changed(assumed, foreignPath, untranslated),
		"relay": changed(assumed, relayGone), "relay elsewhere": changed(assumed, relayGone, relayElsewhere), "address": changed(assumed, addressGone),
	} {
		for _, finding := range Run(f).Findings {
			if finding.Severity == path.Critical && finding.Code != "guest-route" {
				t.Errorf("%s: %s is critical, from an address that is assumed", name, finding.Code)
			}
		}
	}
}

func TestAddressesThatNobodyExpects(t *testing.T) {
	tryCheck(t, tapAddress, []look{
		{"none is expected", changed(addressGone, func(f *path.Facts) { f.Device.Addr = "" }), "beside", nil},
		{"the bridge has it", changed(addressGone, func(f *path.Facts) { f.Device.Bridge = "br0" }), "beside", nil},
		{"another launcher's", changed(addressGone, func(f *path.Facts) { f.Device.Addr, f.Device.GuestAddr = "10.42.0.1", "10.42.0.2" }), "problem", []string{"addr add 10.42.0.1/LENGTH dev tap0"}},
		{"E2B's", changed(addressGone), "problem", []string{"ip -n ns-7 addr add 169.254.0.22/30 dev tap0"}},
	})
}
