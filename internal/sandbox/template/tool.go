package template

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// tool is an external program and the Debian package that brings it.
type tool struct{ name, pkg string }

var (
	aptGet   = tool{name: "apt-get", pkg: "apt"}
	dpkgDeb  = tool{name: "dpkg-deb", pkg: "dpkg"}
	mkfsExt4 = tool{name: "mkfs.ext4", pkg: "e2fsprogs"}
)

// path finds the program, also in the directories that a user's PATH leaves out.
func (t tool) path() (string, error) {
	if p, err := exec.LookPath(t.name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if p, err := exec.LookPath(dir + t.name); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s not found: install Debian's package %s", t.name, t.pkg)
}

// command prepares the program, in the C locale. It is stopped together with
// whatever it started when ctx ends.
func (t tool) command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	path, err := t.path()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	ownGroup(cmd)
	return cmd, nil
}

// ownGroup puts the command in a process group of its own, which ends with ctx
// (apt-get starts a process for each download method).
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
}

// run returns the program's output; its error holds the last line that it said.
func (t tool) run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd, err := t.command(ctx, args...)
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, toolError(ctx, t.name, err, stderr.String())
	}
	return out, nil
}

// toolError prefers the cause (cancelled) and the program's own words to its status.
func toolError(ctx context.Context, name string, err error, stderr string) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s: %w", name, cause)
	}
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	var exit *exec.ExitError
	if last := strings.TrimSpace(lines[len(lines)-1]); errors.As(err, &exit) && last != "" {
		return fmt.Errorf("%s: %s", name, last)
	}
	return fmt.Errorf("%s: %w", name, err)
}
