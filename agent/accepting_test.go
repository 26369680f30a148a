package agent

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

func finds(s path.Slot, code string) bool {
	return slices.ContainsFunc(s.Diagnosis.Findings, func(f path.Finding) bool { return f.Code == code })
}

// A relay that is there and takes nothing.
func TestRelayThatDoesNotAccept(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("10.12.0.3:49983")
	for name, c := range map[string]struct {
		relay func(t *testing.T, ns string)
		want  string
		is    func(path.Listener) bool
	}{
		"its queue is full": {
			func(t *testing.T, ns string) {
				nettest.SetUp(t, ns, "lo", true)
				nettest.DeafListener(t, ns, at, 1).Fill(2)
			},
			"relay-not-accepting",
			func(l path.Listener) bool { return l.Queue.Waiting == 2 && l.Process.PID == os.Getpid() },
		},
		"it is stopped": {
			func(t *testing.T, ns string) { signal(t, relayAlone(t, ns, at), unix.SIGSTOP) },
			"relay-not-accepting",
			func(l path.Listener) bool { return l.Process.Command == relayName && l.Process.Stopped == path.Yes },
		},
		"it has no file left": {
			func(t *testing.T, ns string) {
				pid := relayAlone(t, ns, at)
				open, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
				if err != nil {
					t.Fatal(err)
				}
				n := uint64(len(open))
				if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
					t.Fatal(err)
				}
			},
			"relay-fd-limit",
			func(l path.Listener) bool { return l.Process.Files == l.Process.MaxFiles },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.relay.Close()
			c.relay(t, h.slot.Netns)
			h.bind(registry.Running)
			s := h.until(c.want, func(s path.Slot) bool { return finds(s, c.want) })
			if s.Diagnosis.BrokenAt() != path.Relay || !c.is(s.Relay) {
				t.Errorf("broken at %s: %+v", s.Diagnosis.BrokenAt(), s.Relay)
			}
		})
	}
}

// relayAlone starts a relay that is a process of its own, and waits until it listens
// and has all the files that it needs for that.
func relayAlone(t *testing.T, ns string, at netip.AddrPort) (pid int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, relayName), at.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	nettest.In(t, ns, cmd.Start)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("the relay said %q: %v", line, err)
	}
	return cmd.Process.Pid
}

const relayName = "tworelay" // as the kernel has it, of the test binary's copy

// beRelay takes connections and holds them, until it is killed.
func beRelay() int {
	l, err := net.Listen("tcp4", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("listening")
	var held []net.Conn
	for {
		c, err := l.Accept()
		if errors.Is(err, unix.EMFILE) { // which is told before anybody connects
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err, len(held))
			return 1
		}
		held = append(held, c)
	}
}

func signal(t *testing.T, pid int, s unix.Signal) {
	t.Helper()
	if err := unix.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}
