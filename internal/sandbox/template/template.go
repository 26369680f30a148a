// Package template builds, finds and reads the templates that sandboxes boot
// from, in E2B's storage layout:
//
//	{data}/templates/{buildID}/{rootfs.ext4,metadata.json}
//	{data}/kernels/{version}/{vmlinux.bin,initrd.img}
//	{data}/aliases/{alias}        symbolic link to the alias's newest build
//	{data}/cache/{packages}/      what the builds share: unpacked Debian packages
//
// E2B's memfile and snapfile do not exist here: they hold a paused machine, and
// these templates are booted cold.
package template

import (
	"fmt"
	"syscall"
	"time"
)

// Template is one ready build.
type Template struct {
	ID      string // template (env) id; the default template's is its alias
	BuildID string
	Aliases []string
	Dir     string // {storage}/{buildID}
	Rootfs  string // {storage}/{buildID}/rootfs.ext4
	Kernel  string // {kernels}/{version}/vmlinux.bin
	Initrd  string // {kernels}/{version}/initrd.img; empty where the kernel needs none

	KernelVersion string    // name of the kernel's directory
	Variant       Variant   // empty for a template that tapwatch did not build
	BuiltAt       time.Time // zero where the metadata does not say
}

// OnDisk returns the bytes that the image takes. It is sparse: its length is what
// the guest sees.
func (t Template) OnDisk() (int64, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(t.Rootfs, &st); err != nil {
		return 0, fmt.Errorf("measure %s: %w", t.Rootfs, err)
	}
	return st.Blocks * 512, nil // in these units whatever the file system
}

// Variant names what a template of ours is built with, or without. The faulty
// ones are for drills: their fault is in the image, not pretended.
type Variant string

// The variants. Each one's alias is its name, but for Default, whose is "base".
const (
	Default  Variant = "default"
	NoDriver Variant = "no-driver" // the root file system lacks the NIC's kernel module
	NoEnvd   Variant = "no-envd"   // the root file system lacks /usr/bin/envd

	InitShebang       Variant = "init-shebang"        // /sbin/init begins with #\!, as a shell's history expansion leaves it
	InitNotExecutable Variant = "init-not-executable" // /sbin/init lacks its mode's x bits
	InitNoCgroup      Variant = "init-no-cgroup2"     // /sbin/init does not mount cgroup2
)

// Variants lists all of them, the default first.
func Variants() []Variant {
	return []Variant{Default, NoDriver, NoEnvd, InitShebang, InitNotExecutable, InitNoCgroup}
}

// Alias is the name under which a build of this variant is found.
func (v Variant) Alias() string {
	if v == Default {
		return "base"
	}
	return string(v)
}
