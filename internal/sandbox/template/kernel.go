package template

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Modules that Debian's kernel needs before it sees the disk, loaded by the
// initrd, and for the NIC, loaded by the root file system's /sbin/init: so that a
// root file system without the driver is a guest without the driver.
var (
	initrdModules = []string{"virtio_mmio", "virtio_blk"}
	guestModules  = []string{"virtio_net"} // the last of its order is the NIC's driver
)

// kernelModules are the modules of one kernel, in the order of loading.
type kernelModules struct {
	release string // uname -r
	dir     string // .../lib/modules/{release}
	initrd  []string
	guest   []string
}

func findModules(p packageTree) (kernelModules, error) {
	dirs, err := filepath.Glob(filepath.Join(p.kernel(), "lib/modules/*"))
	if err != nil || len(dirs) != 1 {
		return kernelModules{}, fmt.Errorf("find kernel modules: %s holds %d releases, not one", p.Kernel, len(dirs))
	}
	all, err := openModules(dirs[0])
	if err != nil {
		return kernelModules{}, err
	}
	k := kernelModules{release: filepath.Base(dirs[0]), dir: dirs[0]}
	if k.initrd, err = all.order(initrdModules, nil); err != nil {
		return kernelModules{}, err
	}
	if k.guest, err = all.order(guestModules, k.initrd); err != nil {
		return kernelModules{}, err
	}
	return k, nil
}

// kernelFiles are a kernel's directory, by its content's hash: a kernel that is
// in use is never written to again.
type kernelFiles struct {
	version         string // directory name: release and hash
	vmlinux, initrd []byte
}

func makeKernel(p packageTree, k kernelModules) (kernelFiles, error) {
	image, err := os.ReadFile(filepath.Join(filepath.Dir(p.kernel()), "boot", "vmlinuz-"+k.release))
	if err != nil {
		return kernelFiles{}, fmt.Errorf("make kernel: %w", err)
	}
	vmlinux, err := uncompress(image)
	if errors.Is(err, errCompression) {
		vmlinux = image // boots as well, later
	} else if err != nil {
		return kernelFiles{}, err
	}
	busybox, err := os.ReadFile(filepath.Join(p.root(), "usr/bin/busybox"))
	if err != nil {
		return kernelFiles{}, fmt.Errorf("make initrd: %w", err)
	}
	initrd, err := makeInitrd(k, busybox)
	if err != nil {
		return kernelFiles{}, err
	}
	sum := sha256.New()
	sum.Write(vmlinux)
	sum.Write(initrd)
	return kernelFiles{
		version: k.release + "_" + hex.EncodeToString(sum.Sum(nil)[:4]),
		vmlinux: vmlinux, initrd: initrd,
	}, nil
}

func makeInitrd(k kernelModules, busybox []byte) ([]byte, error) {
	init, err := guestFiles.ReadFile("guest/initrd-init")
	if err != nil {
		return nil, fmt.Errorf("make initrd: %w", err)
	}
	var out bytes.Buffer
	err = writeInitramfs(&out, k.dir, k.initrd, []InitramfsFile{
		{Name: "init", Mode: 0o755, Body: init}, {Name: "bin/busybox", Mode: 0o755, Body: busybox},
	})
	if err != nil {
		return nil, fmt.Errorf("make initrd: %w", err)
	}
	return out.Bytes(), nil
}

// write puts the files into dir, which must not exist yet as far as others see.
func (k kernelFiles) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write kernel: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "vmlinux.bin"), k.vmlinux, 0o644); err != nil {
		return fmt.Errorf("write kernel: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "initrd.img"), k.initrd, 0o644); err != nil {
		return fmt.Errorf("write kernel: %w", err)
	}
	return nil
}
