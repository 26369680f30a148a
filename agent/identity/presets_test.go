package identity

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// set compiles the presets alone.
func set(t testing.TB) *Set {
	t.Helper()
	s, err := Compile(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// words splits a command line as a shell without quotes would.
func words(line string) []string { return strings.Fields(line) }

const (
	sandbox64 = "bf62e0d4a09cc09c4723ceab9294449ab64432c1d673e773b1ce9d325c29f264"
	alloc     = "4744f0ea-7616-ab3a-a420-8e25056e3861"
	podUID    = "6e7520b1-f6e3-45bd-8673-1d64d102fedf"
)

func TestPresets(t *testing.T) {
	for name, c := range map[string]struct {
		facts Facts
		want  string // launcher role sandbox, then what else is set
		sock  string
	}{
		// E2B
		"e2b": {Facts{Netns: "ns-7", Device: "tap0", Args: words("firecracker --api-sock /tmp/fc-i1a2b3c4-x9y8z7.sock")},
			"e2b vmm i1a2b3c4 slot=7 expect=tap0", "/tmp/fc-i1a2b3c4-x9y8z7.sock"},
		"e2b, versioned path": {Facts{Netns: "ns-7", Device: "tap0", Args: words("/fc-versions/v1.10/firecracker --api-sock /tmp/fc-i1a2b3c4-x9y8z7.sock")},
			"e2b vmm i1a2b3c4 slot=7 expect=tap0", "/tmp/fc-i1a2b3c4-x9y8z7.sock"},
		"e2b, one argument": {Facts{Netns: "ns-7", Device: "tap0", Args: words("firecracker --no-seccomp --api-sock=/run/e2b/fc-a-b-c.sock")},
			"e2b vmm a-b slot=7 expect=tap0", "/run/e2b/fc-a-b-c.sock"},
		"e2b, in the host's namespace": {Facts{Host: true, Device: "tap3", Args: words("firecracker --api-sock /tmp/fc-lost-r.sock")},
			"e2b vmm lost expect=tap0", "/tmp/fc-lost-r.sock"},
		"e2b, another name of the VMM": {Facts{Netns: "ns-7", Device: "tap0", Args: words("/opt/vmm/fcx --api-sock /tmp/fc-i1a2-x9.sock"), Exe: "/opt/vmm/fcx"},
			"e2b vmm i1a2 expect=tap0", "/tmp/fc-i1a2-x9.sock"},
		"e2b, no random part": {Facts{Netns: "ns-7", Device: "tap0", Args: words("firecracker --api-sock /tmp/fc-abc.sock")},
			"firecracker vmm fc-abc", "/tmp/fc-abc.sock"},
		"e2b, no id": {Facts{Netns: "ns-7", Device: "tap0", Args: words("firecracker --api-sock /tmp/fc--x.sock")},
			"firecracker vmm fc--x", "/tmp/fc--x.sock"},
		"e2b, its orchestrator makes a tap": {Facts{Netns: "ns-7", Device: "tap0", Command: "orchestrator", Args: words("/orchestrator --port 5008"), Cgroup: "/nomad.slice/share.slice/" + alloc + ".start.scope"},
			"e2b slot - slot=7 expect=tap0", ""},
		"e2b, idle": {Facts{Netns: "ns-12", Device: "tap0"}, "e2b slot - slot=12 expect=tap0", ""},

		// Firecracker
		"its documentation": {Facts{Host: true, Device: "tap0", Args: words("/home/u/firecracker/release-v1.12.1-x86_64/firecracker-v1.12.1-x86_64 --api-sock /tmp/firecracker.sock --config-file firecracker-config.json")},
			"firecracker vmm -", "/tmp/firecracker.sock"},
		"no socket given":  {Facts{Device: "tap0", Args: words("firecracker --config-file vm.json")}, "firecracker vmm -", "/run/firecracker.socket"},
		"no API":           {Facts{Device: "tap0", Args: words("firecracker --no-api --config-file /vm.json")}, "firecracker vmm -", ""},
		"a socket by name": {Facts{Device: "fc-xx-tap", Args: words("firecracker --api-sock /run/vms/web-1.socket")}, "firecracker vmm web-1", "/run/vms/web-1.socket"},
		"a generic socket": {Facts{Device: "tap0", Args: words("firecracker --api-sock /run/vms/77/api.socket")}, "firecracker vmm -", "/run/vms/77/api.socket"},
		"under its jailer": {Facts{Device: "tap0", Netns: "my_netns", UID: 123, Exe: "/firecracker", Root: "/",
			Args:   words("/firecracker --id 551e7604-e35c-42b3-b825-416853441234 --start-time-us 85720398457 --start-time-cpu-us 0 --parent-cpu-time-us 1200 --api-sock /run/firecracker.socket"),
			Cgroup: "/firecracker/551e7604-e35c-42b3-b825-416853441234"},
			"firecracker vmm 551e7604-e35c-42b3-b825-416853441234", "/run/firecracker.socket"},
		"an older jailer": {Facts{Device: "tap0", Args: words("firecracker --id=vm2 --seccomp-level=2 --api-sock=/api.socket")}, "firecracker vmm vm2", "/api.socket"},
		"a jail by its root": {Facts{Device: "tap0", Args: words("firecracker --api-sock /run/api.sock"), Root: "/srv/jailer/firecracker/vm2/root"},
			"firecracker vmm vm2", "/run/api.sock"},
		"a jail by its program": {Facts{Device: "tap0", Command: "fc", Exe: "/srv/launchpad-jail/firecracker-v1.12.1-x86_64/lp-abc/root/firecracker-v1.12.1-x86_64"},
			"firecracker vmm lp-abc", ""},
		"a jail by its cgroup": {Facts{Device: "tap0", Exe: "/firecracker-v1.12.1-x86_64", Cgroup: "/firecracker-v1.12.1-x86_64/lp-abc"}, "firecracker vmm lp-abc", ""},
		"a unit is no jail":    {Facts{Device: "tap0", Exe: "/usr/bin/firecracker", Cgroup: "/system.slice/firecracker.service/x"}, "firecracker vmm -", ""},
		"another name, with an id": {Facts{Device: "tap0", Args: words("myvmm --api-sock /run/x.sock --id sbx-9")},
			"firecracker vmm sbx-9", "/run/x.sock"},
		"no command line":            {Facts{Device: "tap0", Command: "firecracker-v1."}, "firecracker vmm -", ""},
		"an id with more than an id": {Facts{Device: "tap0", Args: []string{"firecracker", "--id", "a b\x1b[31m"}}, "firecracker vmm -", "/run/firecracker.socket"},

		// firecracker-containerd
		"firecracker-containerd": {Facts{Device: "tap0", Cwd: "/var/lib/firecracker-containerd/shim-base/default#ca688585-b1dd-4a83-aade-1be5c08265f3",
			Args: words("/usr/local/bin/firecracker --api-sock firecracker.sock --id ca688585-b1dd-4a83-aade-1be5c08265f3")},
			"firecracker-containerd vmm ca688585-b1dd-4a83-aade-1be5c08265f3 name=default/ca688585-b1dd-4a83-aade-1be5c08265f3",
			"/var/lib/firecracker-containerd/shim-base/default#ca688585-b1dd-4a83-aade-1be5c08265f3/firecracker.sock"},
		"firecracker-containerd, whole path": {Facts{Device: "tap0", Args: words("firecracker --api-sock /var/lib/firecracker-containerd/shim-base/vm1#vm1/firecracker.sock")},
			"firecracker-containerd vmm vm1 name=vm1/vm1", "/var/lib/firecracker-containerd/shim-base/vm1#vm1/firecracker.sock"},
		"firecracker-containerd, jailed": {Facts{Device: "tap0", Args: words("/firecracker --api-sock api.socket"), Cwd: "/", Cgroup: "/firecracker-containerd/vm-4"},
			"firecracker-containerd vmm vm-4", "/api.socket"},
		"its daemon is no VMM": {Facts{Args: words("firecracker-containerd --config /etc/firecracker-containerd/config.toml"), Exe: "/usr/local/bin/firecracker-containerd"},
			" unknown -", ""},

		// Kata Containers
		"kata, QEMU": {Facts{Netns: "cni-7d6a1e0c-31a5-4a1c-9d58-0cb9dd3e6a12", Device: "tap0_kata", Command: "qemu-system-x86", Args: words("/opt/kata/bin/qemu-system-x86_64 -name sandbox-" + sandbox64 + " -uuid 0860b829-52e8-4dd8-bb91-ee2b1d9d8dfb -machine q35,accel=kvm,kernel_irqchip=on,nvdimm=on -cpu host,pmu=off -qmp unix:/run/vc/vm/" + sandbox64 + "/qmp.sock,server,nowait")},
			"kata vmm " + sandbox64, ""},
		"kata, QEMU with sockets handed over": {Facts{Device: "tap0_kata", Args: words("/opt/kata/bin/qemu-system-x86_64 -name sandbox-" + sandbox64 + ",debug-threads=on -uuid b3ea4564-b366-45e7-90eb-f98e3c1015e6 -machine q35,accel=kvm -cpu host,pmu=off -qmp unix:fd=3,server=on,wait=off")},
			"kata vmm " + sandbox64, ""},
		"kata, OpenShift": {Facts{Device: "tap0_kata", Args: words("/usr/libexec/qemu-kvm -name sandbox-" + sandbox64 + " -uuid 6f03e56e-efa1-4f0f-9b8f-492cf1824c83")}, "kata vmm " + sandbox64, ""},
		"kata, Cloud Hypervisor": {Facts{Device: "tap0_kata", Command: "cloud-hyperviso", Args: words("/opt/kata/bin/cloud-hypervisor --api-socket /run/vc/vm/" + sandbox64 + "/clh-api.sock")},
			"kata vmm " + sandbox64, "/run/vc/vm/" + sandbox64 + "/clh-api.sock"},
		"kata, runtime-rs": {Facts{Device: "tap0_kata", Args: words("/opt/kata/bin/cloud-hypervisor --api-socket /run/kata/nginx-1/ch-api.sock")},
			"kata vmm nginx-1", "/run/kata/nginx-1/ch-api.sock"},
		"kata, Firecracker": {Facts{Device: "tap0_kata", Args: words("/opt/kata/bin/firecracker --api-sock /run/vc/firecracker/00fedc54a0bb0e55bd0513e0cf3c551f/root/run/firecracker.socket --config-file /run/vc/firecracker/00fedc54a0bb0e55bd0513e0cf3c551f/root/fcConfig.json")},
			"kata vmm 00fedc54a0bb0e55bd0513e0cf3c551f", "/run/vc/firecracker/00fedc54a0bb0e55bd0513e0cf3c551f/root/run/firecracker.socket"},
		"kata, jailed Firecracker": {Facts{Device: "tap0_kata", Args: words("/firecracker --id 3a2137a9f00e741c0aaf4f4301a440e9 --start-time-us 72138767 --config-file /fcConfig.json")},
			"kata vmm 3a2137a9f00e741c0aaf4f4301a440e9", "/run/firecracker.socket"},
		"kata, the shim holds the tap": {Facts{Device: "tap0_kata", Args: words("/usr/bin/containerd-shim-kata-v2 -namespace k8s.io -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd -id " + sandbox64)},
			"kata vmm " + sandbox64, ""},
		"kata, by its cgroup":   {Facts{Device: "tap0_kata", Cgroup: "/kata_overhead/" + sandbox64}, "kata vmm " + sandbox64, ""},
		"kata, nothing but tap": {Facts{Netns: "cni-7d6a1e0c", Device: "tap0_kata"}, "kata vmm -", ""},

		// Cloud Hypervisor
		"cloud-hypervisor": {Facts{Device: "vmtap0", Args: words("/bin/cloud-hypervisor-static --api-socket path=/tmp/cloud-hypervisor/46c97539-797a-4cf6-b4b6-31f9909d9401.sock")},
			"cloud-hypervisor vmm 46c97539-797a-4cf6-b4b6-31f9909d9401", "/tmp/cloud-hypervisor/46c97539-797a-4cf6-b4b6-31f9909d9401.sock"},
		"cloud-hypervisor, a generic socket": {Facts{Device: "tap0", Args: words("cloud-hypervisor --api-socket path=/run/huginn/77/ch.sock,mode=600 --net tap=tap0")},
			"cloud-hypervisor vmm -", "/run/huginn/77/ch.sock"},
		"cloud-hypervisor, an open socket": {Facts{Device: "tap0", Args: words("cloud-hypervisor --api-socket fd=3")}, "cloud-hypervisor vmm -", ""},
		"cloud-hypervisor, comm alone":     {Facts{Device: "tap0", Command: "cloud-hyperviso"}, "cloud-hypervisor vmm -", ""},
		"cloud-hypervisor in a slot of E2B": {Facts{Netns: "ns-9", Device: "tap0", Args: words("cloud-hypervisor --api-socket /run/vms/abc.sock")},
			"cloud-hypervisor vmm abc", "/run/vms/abc.sock"},

		// QEMU and libvirt
		"libvirt": {Facts{Host: true, Device: "vnet0", Command: "qemu-system-x86", Args: words(`/usr/bin/qemu-system-x86_64 -name guest=WorkloadVM,debug-threads=on -S -object {"qom-type":"secret","id":"masterKey0","format":"raw","file":"/var/lib/libvirt/qemu/domain-1-WorkloadVM/master-key.aes"} -machine pc-q35-11.0,usb=off`)},
			"libvirt vmm WorkloadVM name=WorkloadVM", ""},
		"libvirt, OpenStack": {Facts{Host: true, Device: "tap1a2b3c4d-5e", Args: words("/usr/libexec/qemu-kvm -name guest=instance-00000042,debug-threads=on -S -object secret,id=masterKey0,format=raw,file=/var/lib/libvirt/qemu/domain-11-instance-00000042/master-key.aes")},
			"libvirt vmm instance-00000042 name=instance-00000042", ""},
		"libvirt, of a user": {Facts{Host: true, Device: "tap0", Args: words("/usr/bin/qemu-system-x86_64 -name debug-threads=on,guest=fed -S -object secret,file=/home/u/.config/libvirt/qemu/lib/domain-4-fed/master-key.aes")},
			"libvirt vmm fed name=fed", ""},
		"libvirt in Kubernetes": {Facts{Device: "tap0", Args: words("/usr/libexec/qemu-kvm -name guest=default_testvm,debug-threads=on -S -object secret,file=/var/run/kubevirt-private/libvirt/qemu/lib/domain-1-default_testvm/master-key.aes"), Cgroup: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6e7520b1_f6e3_45bd_8673_1d64d102fedf.slice/crio-0bc5.scope"},
			"libvirt vmm default_testvm name=default_testvm", ""},
		"qemu":                       {Facts{Device: "tap0", Args: words("qemu-system-x86_64 -name web,process=qemu,debug-threads=on -netdev tap,id=n0,ifname=tap0")}, "qemu vmm web name=web", ""},
		"qemu, process before guest": {Facts{Device: "tap0", Args: words("kvm -name process=x,guest=web")}, "qemu vmm web name=web", ""},
		"qemu by its uuid":           {Facts{Device: "tap0", Args: words("qemu-system-aarch64 -uuid 0860b829-52e8-4dd8-bb91-ee2b1d9d8dfb")}, "qemu vmm 0860b829-52e8-4dd8-bb91-ee2b1d9d8dfb", ""},
		"qemu without a name":        {Facts{Netns: "ns-5", Device: "tap0", Args: words("qemu-system-x86_64 -m 512 -netdev tap,ifname=tap0")}, "qemu vmm -", ""},
		"qemu, comm alone":           {Facts{Device: "tap0", Command: "qemu-system-x86"}, "qemu vmm -", ""},

		// Kubernetes and Nomad
		"kubernetes, systemd": {Facts{Device: "tap0", Command: "vmm", Cgroup: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6e7520b1_f6e3_45bd_8673_1d64d102fedf.slice/cri-containerd-" + sandbox64 + ".scope"},
			"kubernetes vmm " + podUID, ""},
		"kubernetes, guaranteed": {Facts{Device: "tap0", Cgroup: "/kubepods.slice/kubepods-pod6e7520b1_f6e3_45bd_8673_1d64d102fedf.slice"}, "kubernetes vmm " + podUID, ""},
		"kubernetes, cgroupfs":   {Facts{Device: "tap0", Cgroup: "/kubepods/besteffort/pod" + podUID + "/" + sandbox64}, "kubernetes vmm " + podUID, ""},
		"kubernetes in kind":     {Facts{Device: "tap0", Cgroup: "/system.slice/docker-1.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod6e7520b1_f6e3_45bd_8673_1d64d102fedf.slice/x"}, "kubernetes vmm " + podUID, ""},
		"kubernetes, static pod": {Facts{Device: "tap0", Cgroup: "/kubepods/burstable/pod0123456789abcdef0123456789abcdef/x"}, "kubernetes vmm 0123456789abcdef0123456789abcdef", ""},
		"kubernetes, Firecracker without an id": {Facts{Device: "tap0", Args: words("firecracker --api-sock /tmp/fc.sock"), Cgroup: "/kubepods/besteffort/pod" + podUID + "/x"},
			"kubernetes vmm " + podUID, "/tmp/fc.sock"},
		"nomad, its QEMU driver": {Facts{Host: true, Device: "tap0", Args: words("qemu-system-x86_64 -machine type=pc,accel=tcg -name linux-0.2.img -m 512M"), Cgroup: "/nomad.slice/share.slice/" + alloc + ".vm.scope"},
			"nomad vmm " + alloc + " name=vm", ""},
		"nomad, reserved cores": {Facts{Device: "tap0", Command: "x", Cgroup: "/nomad.slice/reserve.slice/" + alloc + ".my.task-1.scope/child"}, "nomad vmm " + alloc + " name=my.task-1", ""},
		"nomad, cgroup v1":      {Facts{Device: "tap0", Command: "x", Cgroup: "/nomad/" + alloc + "/task"}, "nomad vmm " + alloc, ""},

		// forkd
		"forkd": {Facts{Netns: "forkd-child-42", Device: "forkd-tap0", Args: words("firecracker --api-sock /tmp/forkd/py/child-42.sock")},
			"forkd vmm forkd-child-42 slot=42 expect=forkd-tap0", "/tmp/forkd/py/child-42.sock"},
		"forkd, idle":       {Facts{Netns: "forkd-child-42", Device: "forkd-tap0"}, "forkd slot - slot=42 expect=forkd-tap0", ""},
		"forkd, its parent": {Facts{Host: true, Device: "forkd-tap0", Args: words("firecracker --api-sock /tmp/forkd/py/fc.sock")}, "firecracker vmm -", "/tmp/forkd/py/fc.sock"},

		// others
		"a VPN":                 {Facts{Host: true, Device: "tap0", Command: "openvpn", Args: words("openvpn --dev tap0")}, "vpn ignore -", ""},
		"nobody":                {Facts{Host: true, Device: "tap9"}, " unknown -", ""},
		"a holder nobody knows": {Facts{Netns: "blue", Device: "tap0", Command: "python3", Args: words("python3 guest.py")}, " unknown -", ""},
		"ns- without number":    {Facts{Netns: "ns-lost", Device: "tap0"}, " unknown -", ""},
	} {
		id := set(t).Identify(c.facts)
		if got := line(id); got != c.want {
			t.Errorf("%s: %s by %q, want %s", name, got, id.Rule, c.want)
		}
		if id.APISocket != c.sock {
			t.Errorf("%s: API at %q, want %q", name, id.APISocket, c.sock)
		}
	}
}

// line says what an identity is on one line.
func line(id Identity) string {
	sandbox := id.SandboxID
	if id.Unidentified() {
		sandbox = "-"
	}
	s := fmt.Sprintf("%s %s %s", id.Launcher, id.Role, sandbox)
	for _, f := range [][2]string{{"name", id.Name}, {"template", id.Template}, {"team", id.Team}, {"slot", id.Slot}, {"expect", id.Expect.Tap}} {
		if f[1] != "" {
			s += " " + f[0] + "=" + f[1]
		}
	}
	return s
}

func TestExpect(t *testing.T) {
	e := set(t).Identify(Facts{Netns: "ns-1", Device: "tap0"}).Expect
	want := Expect{"tap0", netip.MustParsePrefix("169.254.0.22/30"), netip.MustParseAddr("169.254.0.21")}
	if e != want || !e.Assumed() {
		t.Errorf("%+v, want %+v", e, want)
	}
	if e := set(t).Identify(Facts{Device: "tap9"}).Expect; e.Assumed() {
		t.Errorf("a plan for a tap of nobody: %+v", e)
	}
}

func TestPresetsOfSomeLaunchers(t *testing.T) {
	s, err := Compile(nil, Options{Presets: []string{"firecracker"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := line(s.Identify(Facts{Device: "tap0", Args: words("firecracker --id x")})); got != "firecracker vmm x" {
		t.Error(got)
	}
	if s.Slot("ns-1") {
		t.Error("E2B's slots are known without its preset")
	}
	if _, err := Compile(nil, Options{Presets: []string{"vmware"}}); err == nil || err.Error() != `choose presets: "vmware" is none` {
		t.Error(err)
	}
}

func TestSlots(t *testing.T) {
	s := set(t)
	for name, want := range map[string]string{
		"ns-1": "e2b 1", "ns-123456789": "e2b 123456789", "forkd-child-3": "forkd 3",
		"": "", "ns-": "", "ns-0": "", "ns-01": "", "ns-1a": "", "ns-lost": "", "ns-1234567890": "", "xns-1": "", "cni-1": "", "jail-1": "",
	} {
		launcher, slot, ok := s.SlotOf(name)
		if got := strings.TrimSpace(launcher + " " + slot); got != want || ok != (want != "") || s.Slot(name) != ok {
			t.Errorf("%q: %q %v, want %q", name, got, ok, want)
		}
	}
}
