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

// parseUser reads the line "Uid:" that task_state in fs/proc/array.c writes. The name
// of the process, which stands before it, has its newlines escaped.
func parseUser(b []byte) (u User, err error) {
	for line := range bytes.Lines(b) {
		ids, ok := bytes.CutPrefix(line, []byte("Uid:"))
		if !ok {
			continue
		}
		if _, err := fmt.Sscan(string(ids), &u.Real, &u.Effective); err != nil {
			return User{}, fmt.Errorf("user ids: %w", err)
		}
		return u, nil
	}
	return User{}, errors.New("no user ids in its status")
}
