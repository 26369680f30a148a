package inspect

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/caps"
)

// UserOf reads whom the kernel takes a process for.
func UserOf(pid int) (*path.User, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	b, err := os.ReadFile(dir + "/status")
	if err != nil {
		return nil, fmt.Errorf("read whose pid %d is: %w", pid, err)
	}
	u, err := parseStatus(b)
	if err != nil {
		return nil, fmt.Errorf("read whose pid %d is: %w", pid, err)
	}
	if u.NetAdmin == path.Yes { // in its own user namespace, which may not be the tap's
		theirs, err := os.Readlink(dir + "/ns/user")
		ours, err2 := os.Readlink("/proc/self/ns/user")
		if err != nil || err2 != nil || theirs != ours {
			u.NetAdmin = path.Unknown
		}
	}
	return u, nil
}

// parseStatus reads /proc/pid/status. Its first line, the command, may hold
// anything but a line's end.
func parseStatus(b []byte) (*path.User, error) {
	var u path.User
	var uid, gid, groups, capEff bool
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		f := strings.Fields(value)
		switch {
		case key == "Uid" && len(f) == 4:
			n, err := strconv.ParseUint(f[1], 10, 32) // real, effective, saved, of the file system
			if err != nil {
				return nil, err
			}
			u.UID, uid = uint32(n), true
		case key == "Gid" && len(f) == 4:
			f, gid = f[1:2], true
			fallthrough
		case key == "Groups":
			groups = groups || key == "Groups"
			for _, g := range f {
				n, err := strconv.ParseUint(g, 10, 32)
				if err != nil {
					return nil, err
				}
				u.GIDs = append(u.GIDs, uint32(n))
			}
		case key == "CapEff" && len(f) == 1:
			theirs, err := caps.Parse(f[0])
			if err != nil {
				return nil, err
			}
			u.NetAdmin, capEff = path.Known(theirs.Has(unix.CAP_NET_ADMIN)), true
		}
	}
	if !uid || !gid || !groups || !capEff {
		return nil, fmt.Errorf("its status lacks something")
	}
	return &u, nil
}
