package drill

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
)

// otherNamespace makes a namespace that is nobody's slot.
func otherNamespace() (name string, remove func(), err error) {
	name = "tapwatch-drill-" + rand.Text()[:6]
	if err := netns.Create(name); err != nil {
		return "", nil, err
	}
	return name, func() { _ = netns.Delete(name) }, nil // it ends with the process at the latest, but for its name
}

// makeTap makes a persistent tap in a namespace and sets it up.
func makeTap(ns, name string) error {
	return netns.Do(ns, func() error {
		link := &netlink.Tuntap{
			LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TAP,
			Flags: netlink.TUNTAP_NO_PI | netlink.TUNTAP_VNET_HDR,
		}
		if err := netlink.LinkAdd(link); err != nil {
			return fmt.Errorf("make %s in %s: %w", name, ns, err)
		}
		return netlink.LinkSetUp(link)
	})
}

// moveLink moves a link from one namespace to another.
func moveLink(from, to, name string) error {
	dest, err := os.Open(netns.Path(to))
	if err != nil {
		return fmt.Errorf("open %s: %w", to, err)
	}
	defer dest.Close()
	return inNetns(from, name, func(l netlink.Link) error { return netlink.LinkSetNsFd(l, int(dest.Fd())) })
}

// openTap opens a tap of the thread's namespace, or makes one.
func openTap(name string, flags uint16) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// holdTap has a process of its own, which only sleeps, hold a tap open until release.
func holdTap(ns, name string) (release func(), err error) {
	var tun *os.File
	nothing := func() {}
	err = netns.Do(ns, func() (err error) {
		tun, err = openTap(name, unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
		return err
	})
	if err != nil {
		return nothing, fmt.Errorf("%w in %s", err, ns)
	}
	defer tun.Close()
	return keepOpen(tun)
}

// inheritTap has a process of its own hold the tap that a VMM has open, as one does
// that the VMM has forked.
func inheritTap(vmm int, name string) (release func(), err error) {
	fd, err := unix.PidfdOpen(vmm, 0)
	if err != nil {
		return nil, fmt.Errorf("open pid %d: %w", vmm, err)
	}
	defer unix.Close(fd)
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", vmm))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", vmm, f.Name()))
		n, numErr := strconv.Atoi(f.Name())
		if err != nil || numErr != nil || to != "/dev/net/tun" {
			continue
		}
		got, err := unix.PidfdGetfd(fd, n, 0)
		if err != nil {
			return nil, fmt.Errorf("take file %d of pid %d: %w", n, vmm, err)
		}
		tun := os.NewFile(uintptr(got), name)
		defer tun.Close()
		return keepOpen(tun)
	}
	return nil, fmt.Errorf("pid %d has no tap open", vmm)
}

// keepOpen has a process that only sleeps keep a file open until release.
func keepOpen(file *os.File) (release func(), err error) {
	holder := exec.CommandContext(context.Background(), "sleep", "3600")
	holder.ExtraFiles = []*os.File{file}
	if err := holder.Start(); err != nil {
		return func() {}, fmt.Errorf("hold %s: %w", file.Name(), err)
	}
	return func() {
		_ = holder.Process.Kill() // it may have ended
		_ = holder.Wait()
	}, nil
}
