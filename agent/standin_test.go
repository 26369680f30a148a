package agent

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/nettest"
)

// A stand-in is a copy of the test binary under the name of a VMM, with the command
// line of one, that opens taps as a VMM does. It is told what to do on its standard
// input, and ends with that.

// standInMark is set in the environment of every stand-in.
const standInMark = "TAPWATCH_TEST_STANDIN"

// muteMark is set in the environment of those that serve no API.
const muteMark = "TAPWATCH_TEST_NO_API"

// TestMain lets a copy of the test binary be a VMM, a relay or a helper process.
func TestMain(m *testing.M) {
	switch os.Getenv(standInMark) {
	case "vmm":
		os.Exit(beVMM())
	case "agent":
		os.Exit(beAgent())
	}
	if filepath.Base(os.Args[0]) == relayName {
		os.Exit(beRelay())
	}
	os.Exit(m.Run())
}

// standIn says which VMM is played.
type standIn struct {
	program string   // the name of the binary
	args    []string // of its command line
	ns      string   // where it runs; empty: in the test's namespace
	taps    []string // that it opens at once
	uid     uint32   // of its user
	mute    bool     // it serves no API
}

// player is a stand-in that runs.
type player struct {
	*nettest.Child
	t *testing.T
}

// play starts a stand-in, and waits until it holds its taps.
func play(t *testing.T, s standIn) *player {
	t.Helper()
	binary := program(t, s.program)
	if err := os.Chmod(filepath.Dir(filepath.Dir(binary)), 0o755); err != nil { // for other users
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, s.args...)
	cmd.Env = append(os.Environ(), standInMark+"=vmm")
	if s.mute {
		cmd.Env = append(cmd.Env, muteMark+"=1")
	}
	if s.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
	p := begin(t, cmd, s.ns)
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if said := p.hear(); said != "running" {
		t.Fatalf("%s says %q", s.program, said)
	}
	for _, tap := range s.taps {
		p.open(tap)
	}
	return p
}

// begin starts a program in a namespace, "" for ours, and keeps what it reads and says.
func begin(t *testing.T, cmd *exec.Cmd, ns string) *player {
	t.Helper()
	cmd.Stderr = t.Output()
	return &player{Child: nettest.Start(t, ns, cmd), t: t}
}

// hear returns the next line that it says.
func (p *player) hear() string {
	line, err := p.Out.ReadString('\n')
	if err != nil {
		p.t.Helper()
		p.t.Fatalf("the stand-in ended: %v", err)
	}
	return strings.TrimSpace(line)
}

// does has it do something, and returns what came of it.
func (p *player) does(words ...string) string {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.In, strings.Join(words, " ")); err != nil {
		p.t.Fatal(err)
	}
	return p.hear()
}

// open has it open a tap, which is made where there is none.
func (p *player) open(tap string) {
	p.t.Helper()
	if said := p.does("open", tap); said != "done" {
		p.t.Fatalf("open %s: %s", tap, said)
	}
}

// pid is that of the process.
func (p *player) pid() int { return p.Process.Pid }

// kill ends it as a stranger does, by another process's hand.
func (p *player) kill() {
	p.t.Helper()
	if err := exec.CommandContext(p.t.Context(), "sh", "-c", fmt.Sprintf("kill -KILL %d", p.pid())).Run(); err != nil {
		p.t.Fatal(err)
	}
	_ = p.Wait() // it was killed
}

// program is the test binary under another name: by that whoever looks at its
// processes knows it.
func program(t *testing.T, name string) (path string) {
	t.Helper()
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	if err := os.Link(self, path); err == nil {
		return path
	}
	in, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	// A child that another test forks meanwhile would have the file open for writing
	// until its exec, and this one could not be run: "text file busy".
	syscall.ForkLock.RLock()
	err = os.WriteFile(path, in, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// beVMM does what it is told until its input ends. It serves Firecracker's API where
// its command line names a socket.
func beVMM() int {
	if i := slices.IndexFunc(os.Args, func(a string) bool { return strings.HasPrefix(a, "--api-sock") }); i > 0 && i+1 < len(os.Args) {
		if err := serveAPI(os.Args[i+1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	fmt.Println("running")
	var open []int
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		words := strings.Fields(in.Text())
		switch words[0] {
		case "open":
			fd, err := openTap(words[1])
			if err != nil {
				fmt.Println(err)
				continue
			}
			open = append(open, fd)
		case "close":
			for _, fd := range open {
				_ = unix.Close(fd)
			}
			open = nil
		case "fork": // a child that inherits what is open: by its own name, or by the words
			pid, err := forkHolder(words[1:], open)
			if err != nil {
				fmt.Println(err)
				continue
			}
			fmt.Println(pid)
			continue
		}
		fmt.Println("done")
	}
	return 0
}

func openTap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return -1, err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
		return -1, errors.Join(fmt.Errorf("attach to %s: %w", name, err), unix.Close(fd))
	}
	return fd, nil
}

// forkHolder starts a child that has those files open: one with the same command line
// where no words are given.
func forkHolder(words []string, open []int) (int, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env = os.Args, append(os.Environ(), standInMark+"=vmm")
	if len(words) > 0 {
		cmd = exec.Command(words[0], words[1:]...)
	} else {
		cmd.Args = slices.Clone(os.Args)
		if i := slices.Index(cmd.Args, "--api-sock"); i > 0 { // the child serves nothing: it finds the socket taken
			cmd.Env = append(cmd.Env, muteMark+"=1")
		}
		in, hold, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer in.Close()
		defer hold.Close()
		cmd.Stdin, cmd.ExtraFiles = in, []*os.File{hold} // which it holds itself: it never ends
	}
	for _, fd := range open {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return 0, err
		}
		f := os.NewFile(uintptr(copied), "tap")
		defer f.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return cmd.Process.Pid, nil
}

// serveAPI answers each question by the file of that name beside the socket; it knows
// none that there is no file for.
func serveAPI(socket string) error {
	if os.Getenv(muteMark) != "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := strings.ReplaceAll(strings.Trim(r.URL.Path, "/"), "/", "-")
			b, err := os.ReadFile(filepath.Join(filepath.Dir(socket), "answer-"+name))
			if err != nil {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			_, _ = w.Write(b) // who asked may have gone
		})}
		_ = s.Serve(ln) // until the end
	}()
	return nil
}

// endChild ends a child of a stand-in, which may have ended.
func endChild(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }
