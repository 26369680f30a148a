package agent

import (
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
)

// Launchers are known by what they leave in the open: carrier, the holder's name and no
// false finding for each.
func TestShapesOfLaunchers(t *testing.T) {
	t.Parallel()
	w := watch(t)
	for name, c := range map[string]struct {
		ns, tap, program string
		args             func(t *testing.T) []string
		addr             string // of the tap
		id, launcher     string
	}{
		"E2B": {ns: "ns-", tap: "tap0", program: "firecracker", addr: "169.254.0.22/30", id: "ie2b", launcher: "e2b",
			args: func(t *testing.T) []string { return []string{"--api-sock", socket(t, "ie2b")} }},
		"forkd": {ns: "forkd-child-", tap: "forkd-tap0", program: "firecracker", addr: "10.42.0.1/24", id: "iforkd", launcher: "forkd",
			args: func(t *testing.T) []string { return []string{"--api-sock", socket(t, "iforkd")} }},
		"a versioned binary with an id": {ns: "ns-", tap: "tap0", program: "firecracker-v1.12.1-x86_64", addr: "169.254.0.22/30", id: "sbxjail", launcher: "firecracker",
			args: func(t *testing.T) []string {
				return []string{"--id", "sbxjail", "--api-sock", filepath.Join(shortDir(t), "jail.socket")}
			}},
		"the same in another's namespace": {ns: "jail-", tap: "tap0", program: "firecracker-v1.12.1-x86_64", addr: "172.16.0.1/30", id: "sbxjail3", launcher: "firecracker",
			args: func(t *testing.T) []string {
				return []string{"--id", "sbxjail3", "--api-sock", filepath.Join(shortDir(t), "jail.socket")}
			}},
		"kata": {ns: "cni-", tap: "tap0_kata", program: "cloud-hypervisor", id: "kata1", launcher: "kata",
			args: func(t *testing.T) []string {
				return []string{"--api-socket", shortDir(t) + "/run/vc/vm/kata1/clh-api.sock"}
			}},
		"QEMU by hand": {ns: "q-", tap: "tap3", program: "qemu-system-x86_64", addr: "10.3.0.1/24", id: "myguest", launcher: "qemu",
			args: func(*testing.T) []string { return []string{"-name", "guest=myguest,debug-threads=on", "-m", "1G"} }},
		"Cloud Hypervisor": {ns: "ns-", tap: "tap0", program: "cloud-hypervisor", addr: "169.254.0.22/30", id: "chv1", launcher: "cloud-hypervisor",
			args: func(t *testing.T) []string { return []string{"--api-socket", filepath.Join(shortDir(t), "chv1.sock")} }},
		"nobody's that a rule knows": {ns: "x-", tap: "weird", program: "myvmm", addr: "10.9.0.1/24",
			args: func(*testing.T) []string { return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := watching{&host{t: t, agent: w.agent, client: w.client}}
			ns := namespace(t, c.ns)
			nettest.Tap(t, ns, c.tap)
			if c.addr != "" {
				at := netip.MustParsePrefix(c.addr)
				addAddr(t, ns, c.tap, at.Addr(), at.Bits())
			}
			idle := w.untilTap(ns, c.tap, "there", func(s path.Slot) bool { return s.Device.Exists == path.Yes && s.Device.Holders != nil })
			if idle.Diagnosis.State != path.Idle {
				t.Errorf("nobody holds it, and it is %s", idle.Diagnosis.State)
			}
			vmm := play(t, standIn{program: c.program, args: c.args(t), ns: ns, taps: []string{c.tap}})
			if c.id == "" {
				s := w.untilTap(ns, c.tap, "unidentified", func(s path.Slot) bool { return s.Diagnosis.State == path.Unidentified && len(s.Device.Holders) == 1 })
				if s.Unidentified == nil || s.Unidentified.PID != vmm.pid() || s.Unidentified.Command != c.program || len(s.Diagnosis.Hops) > 0 {
					t.Errorf("unidentified %+v, %+v", s.Unidentified, s.Diagnosis)
				}
				w.carrierSeries(s)
				return
			}
			s := w.looked(w.sandbox(ns, c.tap, c.id, vmm))
			if s.Sandbox.Source != c.launcher || !s.Sandbox.Foreign {
				t.Errorf("launched by %q, foreign %t", s.Sandbox.Source, s.Sandbox.Foreign)
			}
			if of := wrong(s); len(of) > 0 {
				t.Errorf("wrong: %q", of)
			}
			nettest.Eventually(t, "one place", func() bool { return len(w.places(ns)) == 1 })
			w.carrierSeries(s)
		})
	}
}

// A tap in the host's namespace, with an address or on a bridge.
func TestTapsOfTheHost(t *testing.T) {
	t.Parallel()
	w := watch(t)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: nettest.RandomName("br")}}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	for _, c := range []struct {
		program, tap, id string
		args             []string
		bridged          bool
	}{
		{"firecracker", nettest.RandomName("fc-1-"), "ihost1", []string{"--id", "ihost1"}, false},
		{"qemu-system-x86_64", nettest.RandomName("vnet"), "ihost2", []string{"-name", "guest=ihost2"}, true},
	} {
		vmm := play(t, standIn{program: c.program, args: c.args, taps: []string{c.tap}})
		l, err := netlink.LinkByName(c.tap)
		if err != nil {
			t.Fatal(err)
		}
		if c.bridged {
			err = netlink.LinkSetMaster(l, bridge)
		} else {
			addAddr(t, "", c.tap, netip.AddrFrom4([4]byte{198, 19, byte(rand.N(256)), 1}), 30)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		s := w.looked(w.sandbox("host", c.tap, c.id, vmm))
		if of := wrong(s); len(of) > 0 {
			t.Errorf("%s: wrong: %q", c.tap, of)
		}
		if want := map[bool]string{true: bridge.Name}[c.bridged]; s.Device.Bridge != want || !s.Host {
			t.Errorf("%s: on bridge %q, in the host's %t", c.tap, s.Device.Bridge, s.Host)
		}
		w.carrierSeries(s)
	}
}
