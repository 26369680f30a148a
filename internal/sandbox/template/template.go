// Package template builds, finds and reads the templates that sandboxes boot
// from, in E2B's storage layout.
package template

// Template is one ready build.
type Template struct {
	ID      string // template (env) id; the default template's is its alias
	BuildID string
	Aliases []string
	Dir     string // {storage}/{buildID}
	Rootfs  string // {storage}/{buildID}/rootfs.ext4
	Kernel  string // {kernels}/{version}/vmlinux.bin
	Initrd  string // {kernels}/{version}/initrd.img; empty where the kernel needs none
}
