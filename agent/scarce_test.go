package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/agent/httpapi"
	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// beAgent is an agent of the run directory that is its only argument, until its input
// ends.
func beAgent() int {
	a, err := New(Config{Listen: "127.0.0.1:0", RunDir: os.Args[1], Every: 50 * time.Millisecond, NoHops: true, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() { _, _ = os.Stdin.Read(make([]byte, 1)); stop() }()
	fmt.Println(a.Addr())
	if err := a.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// agentProcess starts an agent that is a process of its own.
func agentProcess(t *testing.T, dir string) (pid int, c httpapi.Client) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "tapwatch-agent"), dir)
	cmd.Env = append(os.Environ(), standInMark+"=agent")
	p := begin(t, cmd, "")
	return cmd.Process.Pid, httpapi.Client{BaseURL: "http://" + p.hear()}
}

// An agent that has no file left knows less, and says nothing that is not so. When it
// has some again, it knows what it knew.
func TestNoDescriptorLeft(t *testing.T) {
	nettest.NeedRoot(t)
	h := &host{t: t, dir: registry.Dir(t.TempDir())}
	h.makeSlot()
	tap := nettest.AttachTap(t, h.slot.Netns, "tap0")
	h.bindVMM(registry.Running, tap)
	tap.Close()
	ns := e2bSlot(t)
	vmm := playE2B(t, ns, "ifew", "tap0")
	pid, client := agentProcess(t, string(h.dir))
	kept := &keptConn{base: client.BaseURL}
	find := func(cookieOf string) path.Slot {
		t.Helper()
		for _, s := range kept.paths(t) {
			if s.Netns == cookieOf {
				return s
			}
		}
		return path.Slot{}
	}
	until := func(what, ns string, ok func(path.Slot) bool) (s path.Slot) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("%+v, %+v", s.Device, s.Diagnosis)
			}
		}()
		nettest.Eventually(t, what, func() bool { s = find(ns); return ok(s) })
		return s
	}
	held := func(s path.Slot) bool {
		return s.Sandbox != nil && s.Device.Carrier == path.Yes && len(s.Device.Holders) == 1
	}
	ours := until("ours is held, and was looked at: the test gives its tap no address", h.slot.Netns, func(s path.Slot) bool {
		return held(s) && s.Relay.Listening == path.Yes && s.Traffic != nil && finds(s, "tap-address")
	})
	until("the foreign one is held", ns, func(s path.Slot) bool { return held(s) && s.Sandbox.ID == "ifew" && s.Traffic != nil })

	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(files uint64) {
		t.Helper()
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: files, Max: was.Max}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(3) // all that is open stays so
	known := map[string]bool{}
	for _, f := range ours.Diagnosis.Findings {
		known[f.Code] = true
	}
	check := func() {
		t.Helper()
		for _, at := range []string{h.slot.Netns, ns} {
			s := find(at)
			if s.Device.Exists != path.Yes || s.Sandbox == nil || s.Sandbox.VMMAlive == path.No {
				t.Fatalf("%s: %+v, sandbox %+v", at, s.Device, s.Sandbox)
			}
			for _, f := range s.Diagnosis.Findings {
				if !known[f.Code] && f.Code != "no-carrier" { // which is so: the VMM lets go of its tap here
					t.Fatalf("%s: %+v", at, f)
				}
			}
		}
	}
	for range 5 { // each has processes, names and holders read
		if said := vmm.does("close"); said != "done" {
			t.Fatal(said)
		}
		until("no carrier", ns, func(s path.Slot) bool { return s.Device.Carrier == path.No })
		check()
		nettest.Netns(t) // whose file cannot be opened
		vmm.open("tap0")
		until("its holder unknown", ns, func(s path.Slot) bool { return s.Device.Carrier == path.Yes && s.Device.Holders == nil })
		check()
	}
	limit(was.Cur)
	until("the holder is known again", ns, func(s path.Slot) bool { return held(s) && s.Sandbox.ID == "ifew" })
}

// A console on a disk that hangs holds up no other, nor the end of the agent.
func TestConsoleThatHangs(t *testing.T) {
	t.Parallel()
	hung := hangingDir(t)
	h := startWith(t, Config{Every: time.Hour}) // what is reported is read
	h.vmm()
	h.slot.Sandbox.Console = filepath.Join(hung, "console.log")
	h.put()
	h.until("the slot of the console that hangs", func(s path.Slot) bool { return s.Sandbox != nil && s.Device.Carrier == path.Yes })

	one := *h // the same agent with another slot
	one.makeSlotOf(2)
	one.vmm()
	one.slot.Sandbox.ID, one.slot.Sandbox.State, one.slot.Sandbox.Console = "iother", registry.Running, filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(one.slot.Sandbox.Console, []byte("booting\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	one.put()
	one.until("the other slot", func(s path.Slot) bool { return s.Sandbox != nil && s.Device.Carrier == path.Yes })
	say := func(file, text string) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	say(one.slot.Sandbox.Console, "Kernel panic - not syncing: Attempted to kill init!\n")
	one.until("the other's panic", func(s path.Slot) bool {
		return len(s.Sandbox.Console) > 0 && strings.Contains(s.Sandbox.Console[0].Line, "panic")
	})
	h.until("a look at the first, but at its console", func(s path.Slot) bool { return s.Rules.Drops != nil && s.Sandbox.Console == nil })
	h.end()
}

// hangingDir is a directory whose files nobody serves: who asks for one waits until the
// test's end.
func hangingDir(t *testing.T) string {
	t.Helper()
	nettest.NeedRoot(t)
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		nettest.Unfit(t, "no /dev/fuse: "+err.Error())
	}
	dir := t.TempDir()
	if err := unix.Mount("hangs", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		unix.Close(fd)
		nettest.Unfit(t, "no FUSE: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		unix.Close(fd) // lets go of all who wait
	})
	return dir
}

// keptConn asks an agent by one connection, which it needs no further file for.
type keptConn struct {
	base   string
	client http.Client
}

func (k *keptConn) paths(t *testing.T) (all []path.Slot) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.base+"/api/v1/paths", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := k.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body) // or the connection would be closed
	if err == nil {
		var body struct{ Paths []path.Slot }
		err = json.Unmarshal(b, &body)
		all = body.Paths
	}
	if err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return all
}
