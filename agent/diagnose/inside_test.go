package diagnose

import (
	"testing"
	"time"

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

// losing has the table of connections drop something so many seconds ago.
func losing(s float64) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.Conntrack.Drops, f.Inside.Conntrack.LastDrop = 8112, secondsAgo(s) }
}

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
		{"another device of the host has the address", changed(leadsTo(toNamespace, "lo"), func(f *path.Facts) { f.Inside.ToNamespace.LocalOn = "docker0" }), "problem", []string{"docker0 there has that address itself", "dev lo"}},
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

func TestInputRoute(t *testing.T) {
	fromGuest := func(i *path.Inside) *path.Route { return &i.FromGuest }
	fromClient := func(i *path.Inside) *path.Route { return &i.FromClient }
	fromNamespace := func(i *path.Inside) *path.Route { return &i.FromNamespace }
	tryCheck(t, inputRoute, []look{
		{"right", healthy(), "beside", nil},
		{"not asked", changed(func(f *path.Facts) { f.Inside.FromGuest = path.Route{} }), "beside", nil},
		{"the guest's answers", changed(leadsTo(fromGuest, "")), "problem", []string{"what the guest answers arrives in ns-7 and is not let through: there is no route (network is unreachable)",
			"ip route get 169.254.0.22 from 169.254.0.21 iif tap0, in ns-7: network is unreachable"}},
		{"they are routed on", changed(leadsTo(fromGuest, "eth0")), "problem", []string{"the route leads on, to eth0"}},
		{"what the proxy sends", changed(leadsTo(fromClient, "tap0")), "problem", []string{"what the proxy sends arrives in ns-7"}},
		{"the namespace's answers", changed(leadsTo(fromNamespace, "")), "problem", []string{"what the namespace answers arrives on the host"}},
		{"refused for their source", changed(sourceRefused), "beside", nil},
		{"of a namespace that does not forward", changed(notForwarding, leadsTo(fromGuest, "")), "suppressed", []string{"ip-forward-off"}},
		{"behind a route that is gone", changed(leadsTo(fromGuest, ""), leadsTo(toClient, "")), "suppressed", []string{"return-route"}},
	})
}

func noARP(f *path.Facts) {
	f.Device.NoARP = true
	f.Device.Neighbour.MAC, f.Device.Neighbour.State = f.Device.MAC, "NOARP"
}

func TestNoARP(t *testing.T) {
	tryCheck(t, tapNoARP, []look{
		{"it has ARP", healthy(), "beside", nil},
		{"it has none", changed(noARP), "problem", []string{"ARP is switched off on tap0", "hardware address 02:fc:00:00:00:06 for 169.254.0.21 (ip neigh: NOARP)", "link set tap0 arp on"}},
		{"it needs none", changed(noARP, neighbourIs("02:fc:00:00:00:05")), "beside", nil},
		{"it is a port of a bridge", changed(noARP, func(f *path.Facts) { f.Inside.Bridge = "br0" }), "beside", nil},
		{"not known whether it needs ARP", changed(noARP, func(f *path.Facts) { f.Device.Neighbour = nil }), "beside", nil},
		{"without carrier", changed(noARP, vmmDead), "suppressed", []string{"vmm-exited"}},
	})
	tryCheck(t, guestHung, []look{{"for want of ARP", changed(noARP, hung), "suppressed", []string{"tap-noarp"}}})
}

func vpeerIs(mac, state string) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.Vpeer = &path.Neighbour{Addr: "10.12.0.15", MAC: mac, State: state} }
}

func TestVethNeighbour(t *testing.T) {
	const other = "02:00:00:00:00:99"
	clientIs := func(mac, state string) func(*path.Facts) {
		return func(f *path.Facts) { f.Inside.Client = &path.Neighbour{Addr: "10.12.0.14", MAC: mac, State: state} }
	}
	off := func(f *path.Facts) { f.Veth.HostNoARP = true }
	tryCheck(t, vethNeighbour, []look{
		{"right", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Inside.Vpeer, f.Inside.Client = nil, nil }), "beside", nil},
		{"no entry yet", changed(vpeerIs("", "none")), "beside", nil},
		{"the host's is wrong", changed(vpeerIs(other, "PERMANENT")), "problem", []string{"frames from veth-7 on the host for 10.12.0.15 go to 02:00:00:00:00:99, but eth0 in ns-7 is 0a:58:0a:0c:00:0f",
			"ip neigh del 10.12.0.15 dev veth-7"}},
		{"the namespace's is", changed(clientIs(other, "PERMANENT")), "problem", []string{"frames from eth0 in ns-7 for 10.12.0.14", "ip -n ns-7 neigh del 10.12.0.14 dev eth0"}},
		{"the entry is right, and for good", changed(vpeerIs("0a:58:0a:0c:00:0f", "PERMANENT"), off), "beside", nil},
		{"no ARP", changed(vpeerIs("0a:58:0a:0c:00:0e", "NOARP"), off), "problem", []string{"ARP is switched off on the veth pair", "ip link set veth-7 arp on; ip -n ns-7 link set eth0 arp on"}},
		{"no ARP, and no entry", changed(clientIs("", "FAILED"), off), "problem", []string{"cannot learn the hardware address of veth-7 on the host"}},
		{"of a fused path", changed(vpeerIs(other, "PERMANENT"), shape(registry.Fused)), "beside", nil},
	})
	if d := Run(changed(vpeerIs(other, "STALE"))); d.State != path.OK || len(d.Findings) != 1 {
		t.Errorf("an entry that the kernel asks for again: %s", summary(d))
	}
}

func queued(q path.Qdisc) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.Qdiscs = append(f.Inside.Qdiscs, q) }
}

func TestQdiscs(t *testing.T) {
	slow := path.Qdisc{Device: "tap0", Kind: "tbf", Rate: 1000, Burst: 1600}
	tryCheck(t, tapQdisc, []look{
		{"none", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Inside.Qdiscs = nil }), "beside", nil},
		{"tbf, of a usual rate", changed(queued(path.Qdisc{Device: "tap0", Kind: "tbf", Rate: 125_000_000, Burst: 16_000})), "beside", nil},
		{"tbf, slow", changed(queued(slow)), "problem", []string{"the qdisc tbf of tap0 in ns-7 lets through 1000 bytes a second", "ip netns exec ns-7 tc -s qdisc show dev tap0"}},
		{"tbf, of small packets", changed(queued(path.Qdisc{Device: "tap0", Kind: "tbf", Rate: 1 << 20, Burst: 600})), "problem", []string{"drops packets of more than 600 bytes"}},
		{"netem, some loss", changed(queued(path.Qdisc{Device: "tap0", Kind: "netem", Limit: 1000, Loss: 0.3})), "problem", []string{"drops 30% of all packets"}},
		{"netem, a delay", changed(queued(path.Qdisc{Device: "tap0", Kind: "netem", Limit: 1000, Delay: 200 * time.Millisecond})), "problem", []string{"delays each packet by 200ms"}},
		{"netem, a short one", changed(queued(path.Qdisc{Device: "tap0", Kind: "netem", Limit: 1000, Delay: time.Millisecond})), "beside", nil},
		{"a short queue", changed(queued(path.Qdisc{Device: "tap0", Kind: "pfifo", Limit: 1})), "problem", []string{"keeps no more than 1 packets"}},
		{"one without known harm", changed(queued(path.Qdisc{Device: "tap0", Kind: "htb"})), "beside", nil},
		{"another device's", changed(queued(path.Qdisc{Device: "eth0", Kind: "tbf", Rate: 1000})), "beside", nil},
		{"without carrier", changed(queued(slow), vmmDead), "suppressed", []string{"vmm-exited"}},
	})
	tryCheck(t, vethQdisc, []look{
		{"the namespace's end", changed(queued(path.Qdisc{Device: "eth0", Kind: "tbf", Rate: 1000})), "problem", []string{"tbf of eth0 in ns-7"}},
		{"the host's end", changed(queued(path.Qdisc{Device: "veth-7", Host: true, Kind: "netem", Loss: 1})), "problem", []string{"netem of veth-7 on the host drops 100%", "tc -s qdisc show dev veth-7"}},
		{"the tap's", changed(queued(slow)), "beside", nil},
		{"of a fused path", changed(queued(path.Qdisc{Device: "eth0", Kind: "tbf", Rate: 1000}), shape(registry.Fused)), "beside", nil},
	})
	tryCheck(t, tapDrops, []look{{"by a qdisc that is known", changed(queued(slow), dropping("QDISC_DROP", 3, 1)), "beside", nil}})
	for want, q := range map[path.State][]path.Qdisc{
		path.OK:     {slow, {Device: "tap0", Kind: "netem", Loss: 0.3}, {Device: "tap0", Kind: "netem", Delay: time.Second}},
		path.Broken: {{Device: "tap0", Kind: "blackhole", Loss: 1}, {Device: "tap0", Kind: "netem", Delay: 4 * time.Second}},
	} {
		for _, one := range q {
			if d := Run(changed(queued(one))); d.State != want {
				t.Errorf("%+v: %s, want %s", one, d.State, want)
			}
		}
	}
}

func dialing(used, most int) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.Ports = &path.Ports{Used: used, Most: most} }
}

func TestRelayNoPorts(t *testing.T) {
	tryCheck(t, relayNoPorts, []look{
		{"many are free", healthy(), "beside", nil},
		{"half of them", changed(dialing(14_116, 28_232)), "beside", nil},
		{"nearly none", changed(dialing(28_000, 28_232)), "problem", []string{"nearly no port left", "28000 connections to 169.254.0.21:49983"}},
		{"none", changed(dialing(28_232, 28_232)), "problem", []string{"no port left", "EADDRNOTAVAIL", "ip_local_port_range"}},
		{"all are reserved", changed(dialing(0, 0)), "problem", []string{"no port left"}},
	})
	if d := Run(changed(dialing(28_000, 28_232))); d.State != path.OK {
		t.Errorf("nearly none: %s", d.State)
	}
}

func usingPages(n uint64) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.TCPMemory = &path.TCPMemory{Pages: n, Pressure: 3934, Max: 5901} }
}

func TestTCPMemory(t *testing.T) {
	tryCheck(t, tcpMemory, []look{
		{"plenty", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Inside.TCPMemory = nil }), "beside", nil},
		{"pressure", changed(usingPages(4000)), "problem", []string{"run out of memory, with 4000 of 5901 pages in use", "4000 pages are in use", "saves from 3934 on, and gives no more than 5901"}},
		{"none", changed(usingPages(5901)), "problem", []string{"all the memory that they may"}},
	})
	if d := Run(changed(usingPages(4000))); d.State != path.OK {
		t.Errorf("pressure: %s", d.State)
	}
}

// astray has the guest send to another hardware address, last so many seconds ago.
func astray(s float64) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.OtherHost = &path.Counted{Count: 23, Last: secondsAgo(s)} }
}

func TestGatewayMACMismatch(t *testing.T) {
	tryCheck(t, gatewayMAC, []look{
		{"not known", healthy(), "beside", nil},
		{"none since the agent looked first", changed(func(f *path.Facts) { f.Inside.OtherHost = &path.Counted{Count: 23} }), "beside", nil},
		{"some", changed(astray(1)), "problem", []string{"to another hardware address than that of tap0, 02:fc:00:00:00:06: the kernel of ns-7 drops", "dropped 23 packets that came in by tap0 for another hardware address, the last 1s ago", "tcpdump -eni tap0"}},
		{"a while ago", changed(astray(11)), "beside", nil},
		{"of the last guest", changed(astray(5), func(f *path.Facts) { f.Device.Since = secondsAgo(3) }), "beside", nil},
		{"a bridge gets it", changed(astray(1), func(f *path.Facts) {
			f.Inside.Bridge, f.Inside.ToGuest.Wants, f.Inside.ToGuest.Device = "br0", "br0", "br0"
		}), "beside", nil},
		{"the tap's was changed", changed(astray(1), otherMAC), "beside", nil},
	})
}

func TestTapOnABridge(t *testing.T) {
	bridged := func(addrs ...string) func(*path.Facts) {
		return func(f *path.Facts) {
			f.Inside.Bridge, f.Inside.TapAddrs = "br0", append([]string{}, addrs...)
			f.Inside.ToGuest.Wants, f.Inside.ToGuest.Device = "br0", "br0"
		}
	}
	tryCheck(t, tapAddress, []look{
		{"that has its address", changed(bridged("169.254.0.22/30")), "beside", nil},
		{"that has none", changed(bridged(), leadsTo(toGuest, "tap0"), synDropped), "problem", []string{"br0 has no address on the guest's network: the route leads to tap0, not to br0", "addresses of br0 in ns-7: none"}},
	})
	tryCheck(t, guestRoute, []look{{"that has its address", changed(bridged("169.254.0.22/30")), "beside", nil}})
	for want, more := range map[path.State]func(*path.Facts){path.OK: func(*path.Facts) {}, path.Broken: synDropped} {
		for _, addrs := range [][]string{nil, {"169.254.0.22/30"}} {
			if d := Run(changed(bridged(addrs...), leadsTo(toGuest, "tap0"), more)); d.State != want || len(d.Findings) != 1 {
				t.Errorf("past a bridge that has %v: %s, want %s", addrs, summary(d), want)
			}
		}
	}
}

func TestTapAddress(t *testing.T) {
	tryCheck(t, tapAddress, []look{
		{"right", healthy(), "beside", nil},
		{"not known", changed(func(f *path.Facts) { f.Inside.TapAddrs = nil }), "beside", nil},
		{"none", changed(addressGone), "problem", []string{"has no address on the guest's network: the route leads to eth0", "addresses of tap0 in ns-7: none"}},
		{"a mask that leaves the guest out", changed(addressGone, func(f *path.Facts) { f.Inside.TapAddrs = []string{"169.254.0.22/32"} }), "problem", []string{"169.254.0.22/32"}},
		{"another, and nothing is answered", changed(addressOther, synDropped), "problem", []string{"does not have the address 169.254.0.22, which is the guest's gateway"}},
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
		{"nearly full", changed(tracked(250_000)), "problem", []string{"nearly full", "with 250000 of 262144 entries, is nearly full"}},
		{"full, and the kernel finds room", changed(tracked(262_144)), "problem", []string{"is full: the kernel makes room", "has dropped 0 packets for it since the namespace was made"}},
		{"full, and it drops", changed(tracked(262_144), losing(2)), "problem", []string{"is full: the kernel drops the first packet of every new connection", "has dropped 8112 packets for it since the namespace was made", "last seen to rise 2s ago"}},
		{"full, and it dropped before", changed(tracked(262_144), losing(31)), "problem", []string{"the kernel makes room"}},
	})
	for _, c := range []struct {
		facts path.Facts
		want  path.State
	}{
		{changed(tracked(250_000)), path.OK}, {changed(tracked(262_150)), path.OK},
		{changed(tracked(262_150), losing(2)), path.Broken},
		{changed(tracked(262_140), losing(20)), path.Broken}, // it does not flap with every entry that ends
		{changed(tracked(262_150), losing(31)), path.OK},
	} {
		d := Run(c.facts)
		if d.State != c.want {
			t.Errorf("%+v: %s, want %s", c.facts.Inside.Conntrack, d.State, c.want)
		}
		if !Passing(d) {
			t.Error("time does not end it")
		}
	}
}

func TestWhoMayOpenTheTap(t *testing.T) {
	tryCheck(t, tapMultiQueue, []look{
		{"it is not", changed(neverAttached), "beside", nil},
		{"it is", changed(neverAttached, tunIs(multiQueue)), "problem", []string{"tap0 was made for several queues"}},
		{"it is, and the VMM has it open so", changed(tunIs(multiQueue)), "beside", nil},
		{"who holds it is unknown", changed(neverAttached, tunIs(multiQueue), func(f *path.Facts) { f.Device.Holders = nil }), "beside", nil},
	})
	tryCheck(t, tapOwner, []look{
		{"anybody", changed(neverAttached), "beside", nil},
		{"another", changed(neverAttached, ownedByOther), "problem", []string{"tap0 belongs to user 1001, any group, and the VMM (pid 4242) runs as user 1000", "tuntap add tap0 mode tap user 1000"}},
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
		{"it has not", changed(apiSaid(path.VMMRunning, eth0), noHeader), "problem", []string{"opened without the header that Firecracker puts before each frame", "held by qemu-system-x86 (pid 4242)"}},
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
		{"said, and envd refuses", changed(portClosed, noCgroup), "problem", []string{"No such device", "refused the last 300ms ago"}},
		{"said, yet envd answers", changed(noCgroup), "beside", nil},
		{"the template says why", changed(portClosed, noCgroup, noCgroup2), "suppressed", []string{"init-no-cgroup2"}},
	})
	tryCheck(t, envdRefused, []look{{"for want of cgroup2", changed(portClosed, noCgroup), "suppressed", []string{"guest-no-cgroup2"}}})
}
