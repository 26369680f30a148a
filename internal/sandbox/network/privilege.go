package network

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/internal/caps"
)

// ErrPrivilege is wrapped by the error for a missing capability.
var ErrPrivilege = errors.New("not root")

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

// NeedCapabilities returns ErrPrivilege naming those of need that the calling
// thread lacks. Entering a namespace needs CAP_SYS_ADMIN, changing links CAP_NET_ADMIN.
func NeedCapabilities(need ...caps.Cap) error {
	own, err := caps.Own()
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range need {
		if !own.Has(c) {
			missing = append(missing, c.String())
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: needs %s; run as root", ErrPrivilege, strings.Join(missing, " and "))
	}
	return nil
}
