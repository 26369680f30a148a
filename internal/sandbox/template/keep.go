package template

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// linkUsr makes the links of a merged /usr: see mergeUsr.
func linkUsr(root string) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", name), 0o755); err != nil {
			return fmt.Errorf("merge /usr: %w", err)
		}
		if err := os.Symlink("usr/"+name, filepath.Join(root, name)); err != nil {
			return fmt.Errorf("merge /usr: %w", err)
		}
	}
	return nil
}

// keepInGuest leaves out what nobody reads in a sandbox; licences stay.
func keepInGuest(name string) bool {
	for _, dir := range []string{"usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bug/", "usr/lib/x86_64-linux-gnu/gconv/"} {
		if strings.HasPrefix(name+"/", dir) {
			return false
		}
	}
	return !strings.HasPrefix(name, "usr/share/doc/") || path.Base(name) == "copyright"
}

// moduleDirs hold the modules of our guests, and of those that test the agent.
var moduleDirs = []string{
	"/kernel/drivers/virtio/", "/kernel/drivers/block/", "/kernel/drivers/net/", "/kernel/net/core/", "/kernel/fs/fuse/",
	"/kernel/net/802/", "/kernel/net/bridge/", "/kernel/net/ipv4/", "/kernel/net/ipv6/netfilter/", "/kernel/net/llc/", "/kernel/net/netfilter/", "/kernel/net/netlink/", "/kernel/net/sched/", "/kernel/lib/",
}

// keepOfKernel keeps the image and those directories of modules that hold ours.
func keepOfKernel(name string) bool {
	if strings.HasPrefix(name, "boot/vmlinuz-") {
		return true
	}
	for _, dir := range moduleDirs {
		if strings.Contains(name, dir) && path.Ext(name) == ".ko" {
			return true
		}
	}
	return false
}
