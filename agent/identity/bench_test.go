package identity

import "testing"

// strangers are processes as they are on any host.
var strangers = []Facts{
	{Command: "bash", Args: words("-bash"), Exe: "/usr/bin/bash", Root: "/", Cgroup: "/user.slice/user-0.slice/session-1.scope", Host: true},
	{Command: "socat", Args: words("socat TCP-LISTEN:49983,fork,reuseaddr TCP:169.254.0.21:49983"), Exe: "/usr/bin/socat", Netns: "ns-77", Root: "/"},
	{Command: "nginx", Args: words("nginx: worker process"), Exe: "/usr/sbin/nginx", Cgroup: "/kubepods/besteffort/pod" + podUID + "/x", UID: 101},
	{Command: "containerd-shim", Args: words("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id x -address /run/containerd/containerd.sock"), Exe: "/usr/bin/containerd-shim-runc-v2"},
	{Command: "kworker/0:1"},
}

// TestStrangersCostNoAllocation: every process of the host is asked about.
func TestStrangersCostNoAllocation(t *testing.T) {
	s := set(t)
	for _, name := range []string{"ns-77", "cni-1", "forkd-child-1"} {
		if n := testing.AllocsPerRun(100, func() { s.Slot(name) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for _, f := range strangers {
		if n := testing.AllocsPerRun(100, func() { s.Claims(f) }); n != 0 {
			t.Errorf("%s: %v allocations", f.Command, n)
		}
	}
}

func BenchmarkClaimOfAStranger(b *testing.B) {
	s := set(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Claims(strangers[i%len(strangers)])
	}
}

func BenchmarkSlot(b *testing.B) {
	s := set(b)
	b.ReportAllocs()
	for b.Loop() {
		s.Slot("ns-7777")
	}
}

func BenchmarkIdentify(b *testing.B) {
	s := set(b)
	for name, f := range map[string]Facts{
		"e2b":     {Netns: "ns-7", Device: "tap0", Command: "firecracker", Exe: "/fc/firecracker", Args: words("firecracker --api-sock /tmp/fc-i1a2b3c4-x9y8z7.sock")},
		"idle":    {Netns: "ns-7", Device: "tap0"},
		"unknown": {Netns: "blue", Device: "tap0", Command: "python3", Exe: python, Args: words("python3 guest.py")},
		"libvirt": {Device: "vnet0", Args: words("/usr/bin/qemu-system-x86_64 -name guest=a,debug-threads=on -S -object secret,file=/var/lib/libvirt/qemu/domain-1-a/master-key.aes")},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Identify(f)
			}
		})
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add("ns-1", "tap0", "firecracker", "firecracker", "--api-sock", "/tmp/fc-a-b.sock", "/usr/bin/firecracker", "/firecracker/x", uint32(0))
	f.Add("cni-1", "tap0_kata", "qemu", "qemu-kvm", "-name", "guest=\x1b[31m", "", "/kubepods/pod"+podUID, uint32(7))
	f.Add("forkd-child-1", "", "", "", "", "", "/x/firecracker/\u202e/root/firecracker", "/nomad/"+alloc+".\n.scope", uint32(7))
	s := set(f)
	f.Fuzz(func(t *testing.T, netns, device, comm, argv0, flag, value, exe, cgroup string, uid uint32) {
		facts := Facts{Netns: netns, Device: device, Command: comm, Args: []string{argv0, flag, value}, Exe: exe, Cgroup: cgroup, Root: exe, Cwd: exe, UID: uid}
		for _, text := range texts(s.Identify(facts)) {
			if !shown(text) {
				t.Errorf("%q is not clean", text)
			}
		}
		facts.Netns = ""
		if s.Claims(facts) && uid != 0 && len(exe) < len("/srv/jailer/") {
			t.Errorf("%+v is believed", facts)
		}
		s.Ignored(facts)
		s.Slot(netns)
	})
}
