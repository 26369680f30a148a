// Package flowtest builds whole paths without VMs, with any proxy on either
// layer, and drives them by a client that learns the truth: each request names
// its connection, and each reply tells whom the server saw. It is for tests.
package flowtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// program is set, to the name of one, in the processes that a test starts of itself.
const program = "TAPWATCH_FLOWTEST_PROGRAM"

// programs are the parts of a path that are processes of their own: so that each
// has threads and sockets of its own, and can be stopped alone.
var programs = map[string]func(args []string) error{
	"vmm":       vmm,
	"server":    server,
	"copy":      copyProxy,
	"readwrite": readWriteProxy,
	"pool":      poolProxy,
	"reverse":   reverseProxy,
	"batch":     batchProxy,
	"bounce":    bounceProxy,
	"handover":  handoverProxy,
}

// Main runs the tests of a package that uses this one, or, in a process that a
// test of it started, a part of a path. It returns the exit status.
func Main(m *testing.M) int {
	name := os.Getenv(program)
	if name == "" {
		return m.Run()
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- programs[name](os.Args[1:]) }()
	select {
	case <-ended:
		return 0
	case err := <-failed:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
}

// part is the command of one of our own programs.
func part(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return withEnv(exec.Command(self, args...), program+"="+name)
}

func withEnv(cmd *exec.Cmd, env string) *exec.Cmd {
	cmd.Env = append(os.Environ(), env)
	return cmd
}

// startIn starts a command inside a namespace, until the test ends.
func startIn(t testing.TB, ns string, cmd *exec.Cmd) *proctest.Process {
	t.Helper()
	enter := exec.Command("nsenter", append([]string{"--net=" + netns.Path(ns), "--", cmd.Path}, cmd.Args[1:]...)...)
	enter.Env, enter.Dir, enter.ExtraFiles = cmd.Env, cmd.Dir, cmd.ExtraFiles
	return proctest.StartCmd(t, enter)
}

// tool finds a program of Debian's that scripts/deps test installs.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		nettest.Unfit(t, name+" is missing: run scripts/deps test")
	}
	return path
}

// Freeze stops a process as a debugger would, and returns when none of its
// threads runs any more.
func Freeze(t testing.TB, p *proctest.Process) {
	t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, p.Cmd.Process.Pid, &info, unix.WSTOPPED, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatal(os.NewSyscallError("waitid", err))
		}
	}
}

// Thaw lets it go on.
func Thaw(t testing.TB, p *proctest.Process) {
	t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}
