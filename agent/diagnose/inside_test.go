package diagnose

import (
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

// leadsTo has one of the ways lead to a device, "" for nowhere.
func leadsTo(r func(*path.Inside) *path.Route, device string) func(*path.Facts) {
	return func(f *path.Facts) {
		way := r(&f.Inside)
		way.Device = device
		if device == "" {
			way.Failed = "network is unreachable"
		}
	}
}

func toNamespace(i *path.Inside) *path.Route { return &i.ToNamespace }
func toClient(i *path.Inside) *path.Route    { return &i.ToClient }
func toGuest(i *path.Inside) *path.Route     { return &i.ToGuest }

func sourceRefused(f *path.Facts) {
	f.Inside.FromGuest = path.Route{Asked: "169.254.0.22 from 169.254.0.21 iif tap0", Wants: "lo", Failed: "invalid cross-device link", SourceRefused: true}
}

func addressGone(f *path.Facts) {
	f.Inside.TapAddrs = []string{}
	leadsTo(toGuest, "eth0")(f)
}

func addressOther(f *path.Facts) { f.Inside.TapAddrs = []string{"169.254.0.25/28"} }

func tracked(n uint64) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.Conntrack.Count = n }
}

func tunIs(change func(*path.Tun)) func(*path.Facts) {
	return func(f *path.Facts) { change(f.Device.Tun) }
}

func multiQueue(t *path.Tun) { t.MultiQueue = true }

func ownedByOther(f *path.Facts) {
	owner := uint32(1001)
	f.Device.Tun.Owner = &owner
	f.Sandbox.VMMUser = &path.User{UID: 1000, GIDs: []uint32{1000}, NetAdmin: path.No}
}

func TestRoutes(t *testing.T) {
	tryCheck(t, hostRoute, []look{
		{"right", healthy(), "beside", nil},
		{"not asked", changed(func(f *path.Facts) { f.Inside.ToNamespace = path.Route{} }), "beside", nil},
		{"elsewhere", changed(leadsTo(toNamespace, "tun7")), "problem", []string{"the route leads to tun7, not to veth-7", "ip route get 10.12.0.15, on the host: dev tun7"}},
		{"none", changed(leadsTo(toNamespace, "")), "problem", []string{"there is no route (network is unreachable)"}},
		{"of a fused path", changed(leadsTo(toNamespace, ""), relayGone, shape(registry.Fused)), "beside", nil},
		{"behind a veth that is down", changed(leadsTo(toNamespace, ""), vethCut), "suppressed", []string{"veth-down"}},
	})
	tryCheck(t, returnRoute, []look{
		{"right", healthy(), "beside", nil},
		{"none", changed(leadsTo(toClient, "")), "problem", []string{"answers to the proxy do not leave ns-7 by eth0"}},
		{"the host's is gone too", changed(leadsTo(toClient, ""), leadsTo(toNamespace, "")), "suppressed", []string{"host-route"}},
	})
	tryCheck(t, noDefaultRoute, []look{
		{"there is one", healthy(), "beside", nil},
		{"none", changed(func(f *path.Facts) { f.Inside.NoDefault = path.Yes }), "problem", []string{"ns-7 has no default route"}},
		{"not known", changed(func(f *path.Facts) { f.Inside.NoDefault = path.Unknown }), "beside", nil},
	})
	tryCheck(t, guestRoute, []look{
		{"right", healthy(), "beside", nil},
		{"elsewhere", changed(leadsTo(toGuest, "eth0")), "problem", []string{"does not go to tap0: the route leads to eth0", "addresses of tap0: 169.254.0.22/30"}},
		{"for want of an address", changed(addressGone), "suppressed", []string{"tap-address"}},
		{"for want of a carrier", changed(leadsTo(toGuest, ""), vmmDead), "suppressed", []string{"vmm-exited"}},
	})
	tryCheck(t, rpFilter, []look{
		{"takes all", healthy(), "beside", nil},
		{"refuses", changed(sourceRefused), "problem", []string{"what the guest answers is refused: ip route get 169.254.0.22 from 169.254.0.21 iif tap0, in ns-7: invalid cross-device link"}},
	})
}

func TestTapAddress(t *testing.T) {
	tryCheck(t, tapAddress, []look{
		{"right", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Inside.TapAddrs = nil }), "beside", nil},
		{"none", changed(addressGone), "problem", []string{"has no address on the guest's network: the route leads to eth0", "addresses of tap0 in ns-7: none"}},
		{"a mask that leaves the guest out", changed(addressGone, func(f *path.Facts) { f.Inside.TapAddrs = []string{"169.254.0.22/32"} }), "problem", []string{"169.254.0.22/32"}},
		{"another, and nothing is answered", changed(addressOther, synDropped), "problem", []string{"has not the address 169.254.0.22, which is the guest's gateway"}},
		{"another, and all is answered", changed(addressOther), "beside", nil},
		{"another, and nobody asks", changed(addressOther, noHooks), "problem", nil},
		{"without carrier", changed(addressGone, vmmDead), "suppressed", []string{"vmm-exited"}},
	})
	if d := Run(changed(addressOther, noHooks)); d.BrokenAt() != "" {
		t.Errorf("broken at %s by what may be right", d.BrokenAt())
	}
	tryCheck(t, envdNoAnswer, []look{{"another address", changed(addressOther, synDropped), "suppressed", []string{"tap-address"}}})
}

func TestConntrackFull(t *testing.T) {
	tryCheck(t, conntrackFull, []look{
		{"room", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Inside.Conntrack = path.Conntrack{} }), "beside", nil},
		{"nearly full", changed(tracked(250_000)), "problem", []string{"nearly full", "nf_conntrack_count 250000 of nf_conntrack_max 262144"}},
		{"full", changed(tracked(262_144)), "problem", []string{"is full"}},
	})
	for count, want := range map[uint64]path.State{250_000: path.OK, 262_144: path.Broken, 262_150: path.Broken} {
		if d := Run(changed(tracked(count))); d.State != want {
			t.Errorf("%d: %s, want %s", count, d.State, want)
		}
	}
}

func TestWhoMayOpenTheTap(t *testing.T) {
	tryCheck(t, tapMultiQueue, []look{
		{"it is not", changed(neverAttached), "beside", nil},
		{"it is", changed(neverAttached, tunIs(multiQueue)), "problem", []string{"EINVAL: tap0 was made multi-queue"}},
		{"it is, and the VMM has it open so", changed(tunIs(multiQueue)), "beside", nil},
		{"who holds it is unknown", changed(neverAttached, tunIs(multiQueue), func(f *path.Facts) { f.Device.Holders = nil }), "beside", nil},
	})
	tryCheck(t, tapOwner, []look{
		{"anybody", changed(neverAttached), "beside", nil},
		{"another", changed(neverAttached, ownedByOther), "problem", []string{"EPERM: tap0 belongs to user 1001, any group, and the VMM (pid 4242) runs as user 1000", "tuntap add tap0 mode tap user 1000"}},
		{"another, and the VMM may", changed(neverAttached, ownedByOther, func(f *path.Facts) { f.Sandbox.VMMUser.NetAdmin = path.Yes }), "beside", nil},
		{"another, and nobody knows whether it may", changed(neverAttached, ownedByOther, func(f *path.Facts) { f.Sandbox.VMMUser.NetAdmin = path.Unknown }), "beside", nil},
		{"another, but it is open", changed(ownedByOther), "beside", nil},
		{"its group's", changed(neverAttached, func(f *path.Facts) {
			group := uint32(7)
			f.Device.Tun.Group = &group
			f.Sandbox.VMMUser = &path.User{UID: 1000, GIDs: []uint32{1000, 7}, NetAdmin: path.No}
		}), "beside", nil},
	})
	for _, why := range []struct {
		code  string
		facts path.Facts
	}{{"tap-multi-queue", changed(neverAttached, tunIs(multiQueue))}, {"tap-owner", changed(neverAttached, ownedByOther)}} {
		tryCheck(t, vmmNotAttached, []look{{why.code, why.facts, "suppressed", []string{why.code}}})
		apiSaid(path.VMMRunning)(&why.facts) // a Firecracker that was refused its NIC has none
		if d := Run(why.facts); len(d.Findings) != 1 || d.Findings[0].Code != why.code {
			t.Errorf("want %s alone: %s", why.code, summary(d))
		}
	}
	noHeader := tunIs(func(t *path.Tun) { t.VnetHdr = false })
	tryCheck(t, tapNoVnetHdr, []look{
		{"it has", changed(apiSaid(path.VMMRunning, eth0)), "beside", nil},
		{"it has not", changed(apiSaid(path.VMMRunning, eth0), noHeader), "problem", []string{"open without IFF_VNET_HDR", "held by qemu-system-x86 (pid 4242)"}},
		{"another VMM's", changed(noHeader), "beside", nil},
	})
}

func untranslated(f *path.Facts) { f.Inside.MissingDNAT = path.Yes }

// foreignPath is one of which only the sandbox is known.
func foreignPath(f *path.Facts) {
	f.Sandbox.Shape, f.Sandbox.Source = "", "firecracker"
	f.Relay.Listening = path.No
}

func TestDNATMissing(t *testing.T) {
	tryCheck(t, dnatMissing, []look{
		{"of a relay's path", changed(untranslated), "beside", nil},
		{"missing", changed(untranslated, shape(registry.DNAT)), "problem", []string{"has no rule that passes what comes for the sandbox on to 169.254.0.21"}},
		{"there", changed(shape(registry.DNAT), func(f *path.Facts) { f.Inside.MissingDNAT = path.No }), "beside", nil},
		{"not known", changed(shape(registry.DNAT)), "beside", nil},
		{"of a foreign path without relay", changed(untranslated, foreignPath), "problem", []string{"no relay listens there, and no rule passes it on"}},
		{"of a foreign path with a relay", changed(untranslated, shape("")), "beside", nil},
	})
	tryCheck(t, relayNotListening, []look{
		{"passed on instead", changed(foreignPath, func(f *path.Facts) { f.Inside.MissingDNAT = path.No }), "ok", []string{"none needed"}},
		{"nor passed on", changed(foreignPath, untranslated), "unknown", nil},
	})
}

func TestConsoleTellsOfInit(t *testing.T) {
	noInit := onConsole("guest-no-init", "No working init found.")
	tryCheck(t, guestNoInit, []look{
		{"said", changed(panicked, noInit), "problem", []string{"console: No working init found."}},
		{"the template says why", changed(panicked, noInit, corruptShebang), "suppressed", []string{"init-shebang"}},
	})
	tryCheck(t, guestPanic, []look{{"for want of an init", changed(panicked, noInit), "suppressed", []string{"guest-no-init"}}})
	tryCheck(t, vmmExited, []look{{"for want of an init", changed(panicked, noInit), "suppressed", []string{"guest-no-init"}}})
	noCgroup := onConsole("guest-no-cgroup2", "mount: mounting cgroup2 on /sys/fs/cgroup failed: No such device")
	tryCheck(t, guestNoCgroup2, []look{
		{"said, and envd refuses", changed(portClosed, noCgroup), "problem", []string{"No such device", "refused 300ms ago"}},
		{"said, yet envd answers", changed(noCgroup), "beside", nil},
		{"the template says why", changed(portClosed, noCgroup, noCgroup2), "suppressed", []string{"init-no-cgroup2"}},
	})
	tryCheck(t, envdRefused, []look{{"for want of cgroup2", changed(portClosed, noCgroup), "suppressed", []string{"guest-no-cgroup2"}}})
}
