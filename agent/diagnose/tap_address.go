package diagnose

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"tapwatch/agent/path"
	"tapwatch/internal/e2b"
)

var tapAddress = Check{
	Code:      "tap-address",
	Title:     "The tap has no address for the guest, or another one",
	Hop:       path.Tap,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: slices.Concat(carrierFaults, []string{"no-carrier"}),
	Run: func(f path.Facts) Result {
		d := f.Device
		if f.Inside.TapAddrs == nil || d.Addr == "" || d.Bridge != "" || f.Assumed {
			return notApplicable()
		}
		if f.Inside.Bridge != "" { // that should have them
			d.Name = f.Inside.Bridge
		}
		has := cmp.Or(strings.Join(f.Inside.TapAddrs, ", "), "none")
		finding := path.Finding{
			Evidence: []string{"addresses of " + d.Name + " in " + where(f) + ": " + has},
			Fix:      ip(f) + " addr add " + prefixed(d.Addr) + " dev " + d.Name + ", and take others off (ip addr del); a tap that is set down and up keeps its address, one that is moved to another namespace loses it",
		}
		if r := f.Inside.ToGuest; r.Wrong() && !covered(f.Inside.TapAddrs, d.GuestAddr) {
			finding.Cause = d.Name + " has no address on the guest's network: " + leads(r)
			finding.Evidence = append(finding.Evidence, routeEvidence("in "+where(f), r))
			finding.Severity = pastBridge(f, r)
			return wrong(finding)
		}
		if onLink(f.Inside.TapAddrs, d.Addr) || f.Traffic != nil && sinceAttach(f, f.Traffic.LastEnvdSYNACK) && synUnanswered(f) <= Patience {
			return notApplicable()
		}
		finding.Cause = d.Name + " does not have the address " + d.Addr + ", which is the guest's gateway: the guest's answers go nowhere"
		if f.Traffic == nil || synUnanswered(f) <= Patience {
			finding.Severity = path.Warning // a guest that knows the other one would answer
		}
		return wrong(finding)
	},
}

// pastBridge is the severity of a route that leads to a tap, past the bridge that the tap
// is a port of: that works while the kernel need not ask for the guest by ARP. Empty: the
// check's own.
func pastBridge(f path.Facts, r path.Route) path.Severity {
	if f.Inside.Bridge != "" && r.Device == f.Device.Name && (f.Traffic == nil || max(arpUnanswered(f), synUnanswered(f)) <= Patience) {
		return path.Warning
	}
	return ""
}

// prefixed is an address of a tap or a guest as ip wants it. The length of its prefix is only
// known in E2B's slots.
func prefixed(addr string) string {
	if addr == e2b.TapIP().String() || addr == e2b.GuestIP().String() {
		return addr + "/30"
	}
	return addr + "/LENGTH"
}

// covered says whether one of the prefixes holds the address.
func covered(prefixes []string, addr string) bool {
	a, err := netip.ParseAddr(addr)
	return err == nil && slices.ContainsFunc(prefixes, func(p string) bool {
		prefix, err := netip.ParsePrefix(p)
		return err == nil && prefix.Contains(a)
	})
}

// onLink says whether the address is one of those that stand before the prefixes.
func onLink(prefixes []string, addr string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		a, _, _ := strings.Cut(p, "/")
		return a == addr
	})
}
