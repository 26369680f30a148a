package qemu

import (
	"slices"
	"strconv"
	"strings"

	"tapwatch/internal/sandbox/vmm"
)

// arguments returns QEMU's command line for the machine.
func arguments(s vmm.Spec, accel Accel) ([]string, error) {
	files := []string{s.Kernel, s.Initrd, s.Rootfs}
	files = slices.DeleteFunc(files, func(f string) bool { return f == "" })
	if err := readable(files...); err != nil {
		return nil, err
	}
	vcpus := orDefault(s.VCPUs, 1)
	args := append(base(accel, vcpus),
		"-name", escape("tapwatch-"+s.SandboxID)+",debug-threads=on", // the agent knows vCPUs by them
		"-smp", strconv.Itoa(vcpus),
		"-m", strconv.Itoa(orDefault(s.MemoryMiB, 256))+"M",
		"-kernel", s.Kernel,
		"-append", kernelArguments(accel, s.Cmdline),
		"-chardev", "file,id=console,append=on,path="+escape(s.Console),
		"-serial", "chardev:console",
	)
	if s.Rootfs != "" {
		args = append(args,
			"-drive", "if=none,id=rootfs,format=raw,snapshot=on,file="+escape(s.Rootfs),
			"-device", "virtio-blk-device,drive=rootfs")
	}
	if s.Initrd != "" {
		args = append(args, "-initrd", s.Initrd)
	}
	if s.NIC != nil {
		args = append(args,
			"-netdev", "tap,id=eth0,script=no,downscript=no,vhost=off,ifname="+escape(s.NIC.Tap),
			"-device", "virtio-net-device,netdev=eth0,mac="+escape(s.NIC.MAC))
	}
	return args, nil
}

// base is what a machine and a probe share. A guest that restarts or powers off
// ends its VMM.
func base(accel Accel, vcpus int) []string {
	cpu, how := "host", string(accel)
	if accel == TCG {
		cpu = "max,la57=off" // Debian's kernel does not survive TCG's five-level page tables
		// With a thread for each, a CPU was seen to go on for ever with the int3 that the
		// kernel had put into code which another CPU was just patching (QEMU 7.2).
		if vcpus > 1 {
			how += ",thread=single"
		}
	}
	return []string{
		"-M", "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on",
		"-accel", how, "-cpu", cpu,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-global", "virtio-mmio.force-legacy=false",
	}
}

// kernelArguments puts the driver's before the caller's, which so win. Panics and
// warnings stay on the console.
func kernelArguments(accel Accel, more string) string {
	args := []string{"console=ttyS0", "loglevel=5", "panic=-1", "reboot=t"}
	if accel == TCG {
		args = append(args, clockArguments()...)
	}
	return strings.TrimSpace(strings.Join(args, " ") + " " + more)
}

// escape makes a value safe inside QEMU's comma-separated options.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func orDefault(n, ifZero int) int {
	if n == 0 {
		return ifZero
	}
	return n
}
