package qemu

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tapwatch/internal/sandbox/vmm"
)

// fakeSpec names files that exist; what is in them is not read here.
func fakeSpec(t *testing.T) vmm.Spec {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"vmlinux.bin", "initrd.img", "rootfs,1.ext4"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return vmm.Spec{
		SandboxID: "sb1", Kernel: dir + "/vmlinux.bin", Initrd: dir + "/initrd.img", Rootfs: dir + "/rootfs,1.ext4",
		Cmdline: "ip=x", NIC: &vmm.NIC{Tap: "tap0", MAC: "02:FC:00:00:00:05"}, Console: dir + "/console",
	}
}

func TestArguments(t *testing.T) {
	tests := []struct {
		name    string
		accel   Accel
		change  func(*vmm.Spec)
		want    []string // each is an argument, or a part of one
		without []string
	}{
		{name: "defaults", accel: TCG, change: func(*vmm.Spec) {},
			want: []string{"microvm,acpi=on", "256M", "snapshot=on", "max,la57=off", "tsc=reliable", "ifname=tap0", "script=no", "-no-reboot", " ip=x"}},
		{name: "comma in a path", accel: TCG, change: func(*vmm.Spec) {}, want: []string{"rootfs,,1.ext4"}},
		{name: "kvm keeps its own clock", accel: KVM, change: func(*vmm.Spec) {}, want: []string{"host"}, without: []string{"tsc=", "la57", "mitigations"}},
		{name: "no NIC", accel: TCG, change: func(s *vmm.Spec) { s.NIC = nil }, without: []string{"-netdev", "virtio-net"}},
		{name: "no initrd", accel: TCG, change: func(s *vmm.Spec) { s.Initrd = "" }, without: []string{"-initrd"}},
		{name: "no disk", accel: TCG, change: func(s *vmm.Spec) { s.Rootfs = "" }, want: []string{"-initrd"}, without: []string{"-drive", "virtio-blk"}},
		{name: "size", accel: TCG, change: func(s *vmm.Spec) { s.VCPUs, s.MemoryMiB = 2, 512 }, want: []string{"2", "512M", "tcg,thread=single"}},
		{name: "more than one CPU with kvm", accel: KVM, change: func(s *vmm.Spec) { s.VCPUs = 2 }, want: []string{"kvm"}, without: []string{"thread="}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := fakeSpec(t)
			tt.change(&s)
			args, err := arguments(s, tt.accel)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, want) }) {
					t.Errorf("no %q in %q", want, args)
				}
			}
			for _, not := range tt.without {
				if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, not) }) {
					t.Errorf("%q in %q", not, args)
				}
			}
		})
	}
}

func TestArgumentsNameTheMissingFile(t *testing.T) {
	s := fakeSpec(t)
	if err := os.Remove(s.Rootfs); err != nil {
		t.Fatal(err)
	}
	if _, err := arguments(s, TCG); err == nil || !strings.Contains(err.Error(), s.Rootfs) {
		t.Errorf("error %v does not name %s", err, s.Rootfs)
	}
}

func TestMeasureTSC(t *testing.T) {
	if khz := measureTSC(20e6); khz < 100_000 || khz > 10_000_000 {
		t.Errorf("a counter of %d kHz", khz)
	}
}
