package identity

import (
	"strings"
	"testing"
	"unicode/utf8"

	"tapwatch/internal/clean"
)

const python = "/usr/bin/python3.13" // the program behind the stand-ins of the cases

// standIn is a process that another program plays: only its command line is a VMM's.
func standIn(f Facts, line string) Facts {
	f.Args, f.Exe, f.Command, f.Root, f.Cwd = words(line), python, "python3", "/", "/"
	return f
}

// TestCases are the hosts that were tried: what each tap is, and whether its holder
// also claims to be a VMM where it holds none.
func TestCases(t *testing.T) {
	for name, c := range map[string]struct {
		facts  Facts
		want   string
		claims bool
	}{
		"1: networks of their own":    {standIn(Facts{Netns: "ns-202", Device: "tap0"}, "firecracker --api-sock /run/fc-sbxcidr-r1.sock"), "e2b vmm sbxcidr slot=202 expect=tap0", true},
		"2: nobody at the proxy":      {Facts{Netns: "ns-203", Device: "tap0"}, "e2b slot - slot=203 expect=tap0", false},
		"3: forkd":                    {standIn(Facts{Netns: "forkd-child-3", Device: "forkd-tap0"}, "firecracker --api-sock /run/fc-sbxforkd-r1.sock"), "forkd vmm sbxforkd name=forkd-child-3 slot=3 expect=forkd-tap0", true},
		"4: a versioned name":         {standIn(Facts{Netns: "ns-204", Device: "tap0"}, "firecracker-v1.12.1-x86_64 --id sbxjail --api-sock /srv/jailer/jail.socket"), "firecracker vmm sbxjail", true},
		"4: by its socket":            {standIn(Facts{Netns: "ns-204", Device: "tap0"}, "firecracker-v1.12.1-x86_64 --api-sock /srv/jailer/jail.socket"), "firecracker vmm jail", true},
		"4: under a chroot":           {Facts{Netns: "ns-205", Device: "tap0", UID: 123, Exe: "/srv/jailer/firecracker/sbxjail2/root/firecracker", Root: "/srv/jailer/firecracker/sbxjail2/root", Args: words("firecracker --id sbxjail2 --api-sock /run/firecracker.socket")}, "firecracker vmm sbxjail2", true},
		"4: in jail-1":                {standIn(Facts{Netns: "jail-1", Device: "tap0"}, "firecracker --id sbxjail2 --api-sock /run/firecracker.socket"), "firecracker vmm sbxjail2", true},
		"5: taps in the host":         {standIn(Facts{Host: true, Device: "fc-1-tap0"}, "firecracker --api-sock /run/fc-one-r1.sock"), "e2b vmm one expect=tap0", true},
		"5: a tap without holder":     {Facts{Host: true, Device: "fc-xx-tap"}, " unknown -", false},
		"5: vnet0 without holder":     {Facts{Host: true, Device: "vnet0"}, " unknown -", false},
		"6: two in one, the elder":    {standIn(Facts{Netns: "ns-206", Device: "tap0"}, "firecracker --api-sock /run/fc-elder-r1.sock"), "e2b vmm elder slot=206 expect=tap0", true},
		"6: two in one, the younger":  {standIn(Facts{Netns: "ns-206", Device: "tap1"}, "firecracker --api-sock /run/fc-younger-r1.sock"), "e2b vmm younger slot=206 expect=tap0", true},
		"7: a second that holds none": {standIn(Facts{Netns: "ns-207"}, "firecracker --api-sock /run/fc-second-r1.sock"), "e2b vmm second slot=207 expect=tap0", true},
		"8: a forked child":           {standIn(Facts{Netns: "ns-208"}, "firecracker --api-sock /run/fc-parent-r1.sock"), "e2b vmm parent slot=208 expect=tap0", true},
		"9: its child holds the tap":  {Facts{Netns: "ns-209", Device: "tap0", Command: "sleep", Args: words("sleep 600"), Exe: "/usr/bin/sleep"}, "e2b slot - slot=209 expect=tap0", false},
		"10: the VMM's own tap":       {standIn(Facts{Netns: "ns-210", Device: "tap0"}, "firecracker --api-sock /run/fc-own-r1.sock"), "e2b vmm own slot=210 expect=tap0", true},
		"11: the tap in ns-lost":      {Facts{Netns: "ns-lost", Device: "tap0"}, " unknown -", false},
		"11: the VMM in ns-115":       {standIn(Facts{Netns: "ns-115", Device: "tap0"}, "firecracker --api-sock /run/fc-astray-r1.sock"), "e2b vmm astray slot=115 expect=tap0", true},
		"11: the VMM in the host":     {standIn(Facts{Host: true}, "firecracker --api-sock /run/fc-nowhere-r1.sock"), "e2b vmm nowhere expect=tap0", true},
		"11: the VMM in ns-lost2":     {standIn(Facts{Netns: "ns-lost2", Device: "tap0"}, "firecracker --api-sock /run/fc-lost2-r1.sock"), "e2b vmm lost2 expect=tap0", true},
		"12: renamed":                 {standIn(Facts{Netns: "ns-212", Device: "tap0-old"}, "firecracker --api-sock /run/fc-renamed-r1.sock"), "e2b vmm renamed slot=212 expect=tap0", true},
		"13: a macvtap":               {standIn(Facts{Netns: "ns-213", Device: "tap0", Kind: "macvtap"}, "firecracker --api-sock /run/fc-macvtap-r1.sock"), "e2b vmm macvtap slot=213 expect=tap0", true},
		"14: kata":                    {standIn(Facts{Netns: "cni-1", Device: "tap0_kata"}, "cloud-hypervisor --api-socket /run/vc/vm/abc/clh-api.sock"), "kata vmm abc", true},
		"14: plain QEMU":              {standIn(Facts{Netns: "ns-214", Device: "tap0"}, "qemu-system-x86_64 -m 512 -nographic"), "qemu vmm -", true},
		"14: cloud-hypervisor":        {standIn(Facts{Netns: "ns-214", Device: "tap0"}, "cloud-hypervisor --api-socket /run/ch.sock"), "cloud-hypervisor vmm -", true},
		"15: a namespace unmounted":   {standIn(Facts{Device: "tap0"}, "firecracker --api-sock /run/fc-nameless-r1.sock"), "e2b vmm nameless expect=tap0", true},
		"16: two of one id":           {standIn(Facts{Netns: "ns-216", Device: "tap0"}, "firecracker --api-sock /run/fc-twin-r2.sock"), "e2b vmm twin slot=216 expect=tap0", true},
		"18: network v2":              {standIn(Facts{Netns: "ns-2", Device: "tap0"}, "firecracker --api-sock /run/fc-v2-r2.sock"), "e2b vmm v2 slot=2 expect=tap0", true},
	} {
		s := set(t)
		if got := line(s.Identify(c.facts)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if got := s.Claims(c.facts); got != c.claims {
			t.Errorf("%s: claims %v, want %v", name, got, c.claims)
		}
	}
}

// hostile are sockets that another user's process may have.
var hostile = []string{
	"/tmp/fc-\x1b[31mred\x1b[0m-r1.sock", "/tmp/fc-a\nlevel=critical-r1.sock", "/tmp/fc-\u202egnp-r1.sock", "/tmp/fc-\u2066x\u2069-r1.sock",
	"/tmp/\x1b]0;x\x07/fc-ok-r1.sock", "/tmp/fc-\xff\xfe-r1.sock", "/tmp/fc-a b-r1.sock", "/tmp/fc-$(reboot)-r1.sock", "/tmp/\u009b31m.sock",
	"/tmp/" + strings.Repeat("a", 300) + ".sock", "/tmp/fc-\u200bi1a2-r.sock", "/tmp/\u061c\u200e\u200f\u202a.sock",
}

// TestHostile is case 16: what any user can start is not believed, and what it
// says never leaves raw.
func TestHostile(t *testing.T) {
	s := set(t)
	for _, socket := range hostile {
		for _, f := range []Facts{
			{Args: []string{"firecracker", "--api-sock", socket}, Exe: "/home/mallory/firecracker", Host: true, UID: 1000, Root: "/"},
			{Args: []string{"firecracker", "--api-sock", socket}, Exe: "/usr/bin/firecracker", Host: true, UID: 1000, Root: "/"},
			{Args: []string{"firecracker", "--api-sock", socket}, Exe: python, Host: true, UID: 1000},
			{Args: []string{"firecracker", "--api-sock", socket}, Exe: python, Netns: "ns-1", UID: 1000},
			{Args: []string{"firecracker", "--api-sock", socket}, Exe: "/usr/bin/firecracker", UID: 1000, Root: "/home/mallory/firecracker/victim/root"}, // a user namespace of its own
			{Args: []string{"firecracker", "--api-sock", socket}, Exe: "/usr/bin/firecracker", UID: 1000, Root: "/srv/jailer-of-mallory/firecracker/victim/root"},
		} {
			if s.Claims(f) {
				t.Errorf("%q of %q is believed", socket, f.Exe)
			}
			f.Device, f.Command, f.Netns = "tap\x1b[0m", "fc\n\u202e", "ns\x1b"
			id := s.Identify(f)
			for _, text := range texts(id) {
				if !shown(text) {
					t.Errorf("%q left raw as %q", socket, text)
				}
			}
			if strings.Contains(id.SandboxID, "[31m") || strings.Contains(id.SandboxID, " ") {
				t.Errorf("%q gave the id %q", socket, id.SandboxID)
			}
		}
	}
}

func texts(id Identity) []string {
	all := []string{id.SandboxID, id.Name, id.Template, id.Team, id.Launcher, id.Slot, id.Rule, id.APISocket, id.Silence.Reason, id.Silence.Rule}
	for k, v := range id.Labels {
		all = append(all, k, v)
	}
	return all
}

func shown(s string) bool { return utf8.ValidString(s) && clean.Text(s) == s }

func TestClaim(t *testing.T) {
	fc := words("firecracker --api-sock /tmp/fc-a-b.sock")
	for name, c := range map[string]struct {
		facts Facts
		want  Claim
	}{
		"root":                              {Facts{Args: fc, Exe: "/usr/bin/firecracker", Host: true}, Believed},
		"root, by its first argument":       {Facts{Args: fc, Exe: python, Host: true}, Believed},
		"a user of the configuration":       {Facts{Args: fc, Exe: python, UID: 900, Host: true}, Believed},
		"another user":                      {Facts{Args: fc, Exe: "/usr/bin/firecracker", UID: 1000, Host: true}, Doubtful},
		"another user, no namespace's name": {Facts{Args: fc, Exe: "/usr/bin/firecracker", UID: 1000}, Doubtful},
		"a jailed user in a namespace":      {Facts{Args: fc, Exe: "/firecracker", UID: 123, Netns: "my_netns"}, Believed},
		"a user that is not known":          {Facts{Args: fc, Exe: "/usr/bin/firecracker", UID: NoUID, Host: true}, Doubtful},
		"only its first argument":           {Facts{Args: fc, Exe: python, UID: 123, Netns: "my_netns"}, Doubtful},
		"in a jail":                         {Facts{Args: fc, Exe: "/srv/jailer/firecracker/a/root/firecracker", Root: "/srv/jailer/firecracker/a/root", UID: 123, Host: true}, Believed},
		"in a jail of its own":              {Facts{Args: fc, Exe: "/home/m/firecracker", Root: "/home/m/jail", UID: 123, Host: true}, Doubtful},
		"ip netns exec":                     {Facts{Args: words("ip netns exec ns-1 firecracker --api-sock /tmp/fc-a-b.sock"), Exe: "/usr/sbin/ip"}, NoClaim},
		"a shell":                           {Facts{Args: []string{"bash", "-c", "ip netns exec ns-1 firecracker --api-sock /tmp/fc-a-b.sock"}, Exe: "/usr/bin/bash"}, NoClaim},
		"unshare":                           {Facts{Args: words("unshare -m -- firecracker --api-sock /tmp/fc-a-b.sock"), Exe: "/usr/bin/unshare"}, NoClaim},
		"the jailer":                        {Facts{Args: words("/usr/bin/jailer --id a --exec-file /usr/bin/firecracker -- --api-sock /api.sock"), Exe: "/usr/bin/jailer"}, NoClaim},
		"firecracker-containerd":            {Facts{Args: words("firecracker-containerd"), Exe: "/usr/local/bin/firecracker-containerd"}, NoClaim},
		"kata's shim":                       {Facts{Args: words("/usr/bin/containerd-shim-kata-v2 -id x"), Exe: "/usr/bin/containerd-shim-kata-v2"}, NoClaim},
		"virtiofsd":                         {Facts{Args: words("/opt/kata/libexec/virtiofsd -o source=/run/kata-containers/shared/sandboxes/x/shared"), Exe: "/opt/kata/libexec/virtiofsd"}, NoClaim},
		"some other in a pod":               {Facts{Args: words("nginx"), Exe: "/usr/sbin/nginx", Cgroup: "/kubepods/besteffort/pod" + podUID + "/x"}, NoClaim},
		"some other in a slot":              {Facts{Args: words("socat TCP-LISTEN:49983 -"), Exe: "/usr/bin/socat", Netns: "ns-1"}, NoClaim},
		"a kernel thread":                   {Facts{Command: "kworker/0:1"}, NoClaim},
		"an editor of the like name":        {Facts{Args: words("vi firecracker"), Exe: "/usr/bin/vi"}, NoClaim},
		"QEMU":                              {Facts{Args: words("/usr/bin/qemu-system-x86_64 -name guest=a"), Exe: "/usr/bin/qemu-system-x86_64", Host: true}, Believed},
		"QEMU's tools":                      {Facts{Args: words("qemu-img create"), Exe: "/usr/bin/qemu-img"}, NoClaim},
		"QEMU's guest agent":                {Facts{Args: words("/usr/bin/qemu-ga"), Exe: "/usr/bin/qemu-ga"}, NoClaim},
		"cloud-hypervisor":                  {Facts{Args: words("cloud-hypervisor"), Exe: "/bin/cloud-hypervisor"}, Believed},
	} {
		s, err := Compile(nil, Options{VMMUsers: []uint32{900}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Claim(c.facts); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
