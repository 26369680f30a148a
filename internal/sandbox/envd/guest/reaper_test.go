package guest_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd/guest"
	pb "tapwatch/internal/sandbox/envd/proto/process"
)

// asInit tells the test binary that it is PID 1 of a namespace of its own.
const asInit = "TAPWATCH_TEST_AS_INIT"

func TestReaperAsPID1(t *testing.T) {
	if os.Getenv(asInit) != "" {
		reapAsPID1(t)
		return
	}
	nettest.NeedRoot(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestReaperAsPID1$", "-test.v")
	cmd.Env = append(os.Environ(), asInit+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("PASS: TestReaperAsPID1")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// reapAsPID1 runs commands that leave orphans behind: each command must keep
// its own exit code, and no orphan may stay a zombie.
func reapAsPID1(t *testing.T) {
	if os.Getpid() != 1 {
		t.Fatal("not PID 1")
	}
	g := guest.New(guest.Config{Reaper: guest.NewReaper()})
	ts := httptest.NewServer(g)
	defer ts.Close()
	c := pb.NewProcessClient(ts.Client(), ts.URL)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 10 {
				code := int32(worker*10 + i + 1)
				line := fmt.Sprintf("for i in 1 2 3; do (sleep 0.0$i >/dev/null 2>&1 &) ; done; exit %d", code)
				r, err := run(t, c, connect.NewRequest(shell(line)))
				if err != nil || r.end.GetExitCode() != code {
					t.Errorf("exit %v, %v, want %d", r.end, err, code)
				}
			}
		})
	}
	all.Wait()
	for range 500 {
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if errors.Is(err, unix.ECHILD) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("children are left")
}
