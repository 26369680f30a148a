package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// User is whose a process is, as the reader's user namespace has it: 4294967295 where
// it does not have that user.
type User struct{ Real, Effective uint32 }

// UserOf reads whose process has this pid now.
func UserOf(pid int) (User, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return User{}, fmt.Errorf("read user of process %d: %w", pid, err)
	}
	u, err := parseUser(b)
	if err != nil {
		return User{}, fmt.Errorf("read user of process %d: %w", pid, err)
	}
	return u, nil
}

func parseUser(status []byte) (u User, err error) {
	ids, ok := statusLine(status, "Uid:")
	if !ok {
		return User{}, errors.New("no user ids in its status")
	}
	if _, err := fmt.Sscan(string(ids), &u.Real, &u.Effective); err != nil {
		return User{}, fmt.Errorf("user ids: %w", err)
	}
	return u, nil
}

// statusLine returns what follows a key in /proc/PID/status, which task_state in
// fs/proc/array.c writes. The name of the process, which stands before, has its newlines
// escaped.
func statusLine(status []byte, key string) (value []byte, ok bool) {
	for line := range bytes.Lines(status) {
		if value, ok := bytes.CutPrefix(line, []byte(key)); ok {
			return value, true
		}
	}
	return nil, false
}
