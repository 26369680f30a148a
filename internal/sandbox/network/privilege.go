package network

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrPrivilege is wrapped by the error for a missing capability.
var ErrPrivilege = errors.New("not root")

var capNames = map[int]string{
	unix.CAP_NET_ADMIN: "CAP_NET_ADMIN",
	unix.CAP_SYS_ADMIN: "CAP_SYS_ADMIN",
}

// Check says in one line what this process lacks for making slots: a
// capability, or the kernel's tun driver. It costs two system calls.
func Check() error {
	if err := NeedCapabilities(unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return errors.New("no /dev/net/tun: modprobe tun")
	}
	return nil
}

// NeedCapabilities returns ErrPrivilege naming those of caps that the calling
// thread lacks. Entering a namespace needs CAP_SYS_ADMIN, changing links CAP_NET_ADMIN.
func NeedCapabilities(caps ...int) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("read own capabilities: %w", err)
	}
	var missing []string
	for _, c := range caps {
		if data[c/32].Effective&(1<<(c%32)) == 0 {
			missing = append(missing, capNames[c])
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: needs %s; run as root", ErrPrivilege, strings.Join(missing, " and "))
	}
	return nil
}
