package relay

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// contender is something that carries connections through the slot.
type contender struct {
	name string
	// start runs it, listening at an address of the slot's.
	start func(t testing.TB, w *world, cpu int, at, to netip.AddrPort) *proctest.Process
}

var (
	direct    = contender{name: "direct"}
	socats    = contender{"socat", startSocat}
	haproxies = contender{"HAProxy", startHAProxy}
	nginxes   = contender{"nginx", startNginx}
	ours      = contender{"ours", startOurs}
)

// contenders are all of them, ours last.
func contenders() []contender {
	all := []contender{direct, socats, haproxies, nginxes}
	if *before != "" {
		all = append(all, contender{"before", func(t testing.TB, w *world, cpu int, at, to netip.AddrPort) *proctest.Process {
			return startTapwatch(t, *before, w, cpu, at, to)
		}})
	}
	return append(all, ours)
}

// running is a contender that is ready.
type running struct {
	contender
	addr netip.AddrPort
	proc *proctest.Process // nil: nobody is in between
}

// run starts a contender and waits until it listens.
func (c contender) run(t testing.TB, w *world, cpu int) running {
	t.Helper()
	if c.start == nil {
		return running{c, envd, nil}
	}
	return c.runTo(t, w, cpu, envd)
}

func (c contender) runTo(t testing.TB, w *world, cpu int, to netip.AddrPort) running {
	t.Helper()
	at := w.listen()
	r := running{c, at, c.start(t, w, cpu, at, to)}
	waitListening(t, w.slot, at, r.proc)
	return r
}

// waitListening calls until somebody takes the call.
func waitListening(t testing.TB, ns string, at netip.AddrPort, p *proctest.Process) {
	t.Helper()
	nettest.Eventually(t, "a listener at "+at.String(), func() bool {
		select {
		case <-p.Ended:
			t.Fatalf("%s ended: %s", p.Cmd.Path, p.Output())
		default:
		}
		return netns.Do(ns, func() error {
			c, err := net.DialTimeout("tcp4", at.String(), time.Second)
			if err == nil {
				c.Close()
			}
			return err
		}) == nil
	})
}

// startSocat gives it a backlog: with its own, of 5, connections hang for seconds.
func startSocat(t testing.TB, w *world, cpu int, at, to netip.AddrPort) *proctest.Process {
	return start(t, w.slot, cpu, tool(t, "socat"),
		fmt.Sprintf("TCP4-LISTEN:%d,bind=%s,fork,reuseaddr,backlog=1024", at.Port(), at.Addr()), "TCP4:"+to.String())
}

// startHAProxy has a thread a CPU.
func startHAProxy(t testing.TB, w *world, cpu int, at, to netip.AddrPort) *proctest.Process {
	file := config(t, `
global
	maxconn %d
	maxpipes 100
defaults
	mode tcp
	timeout connect 10s
	timeout client 1h
	timeout server 1h
	option splice-request
	option splice-response
listen path
	bind %s
	server guest %s
`, fileLimit(t)/2-200, at, to)
	return start(t, w.slot, cpu, tool(t, "haproxy"), "-db", "-q", "-f", file)
}

// startNginx has a process a CPU.
func startNginx(t testing.TB, w *world, cpu int, at, to netip.AddrPort) *proctest.Process {
	bin, err := filepath.EvalSymlinks(tool(t, "nginx"))
	if err != nil {
		t.Fatal(err)
	}
	module := "/usr/lib/nginx/modules/ngx_stream_module.so"
	if _, err := os.Stat(module); err != nil { // scripts/deps unpacked it beside the program
		module = filepath.Join(filepath.Dir(bin), "../lib/nginx/modules/ngx_stream_module.so")
	}
	file := config(t, `
load_module %s;
daemon off;
user root;
worker_processes auto;
pid nginx.pid;
error_log stderr crit;
events { worker_connections %d; }
stream {
	server {
		listen %s backlog=65535;
		proxy_pass %s;
		proxy_buffer_size 64k;
		proxy_timeout 1h;
	}
}
`, module, fileLimit(t)-100, at, to)
	return start(t, w.slot, cpu, bin, "-e", "stderr", "-p", filepath.Dir(file), "-c", file)
}

func startOurs(t testing.TB, w *world, cpu int, at, to netip.AddrPort) *proctest.Process {
	return startTapwatch(t, tapwatch(t), w, cpu, at, to)
}

func startTapwatch(t testing.TB, bin string, w *world, cpu int, at, to netip.AddrPort) *proctest.Process {
	return start(t, w.host, cpu, bin, "relay", "--netns", w.slot, "--listen", at.String(), "--to", to.String())
}

// tool finds a program that scripts/deps test has installed.
func tool(t testing.TB, name string) string {
	t.Helper()
	here, err := filepath.Abs("../../.cache/bin/" + name)
	if err == nil {
		if _, err = os.Stat(here); err == nil {
			return here
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		nettest.Unfit(t, "no "+name+": run make deps-test")
	}
	return path
}

func config(t testing.TB, format string, args ...any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tapwatch is the program, built once.
func tapwatch(t testing.TB) string {
	t.Helper()
	build.Do(func() { built, buildErr = buildTapwatch() })
	if buildErr != nil {
		t.Fatal(buildErr)
	}
	return built
}

var (
	build    sync.Once
	built    string // removed by TestMain
	buildErr error
)

func buildTapwatch() (string, error) {
	dir, err := os.MkdirTemp("", "tapwatch-relay-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "tapwatch")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./cmd/tapwatch")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return bin, fmt.Errorf("build tapwatch: %w\n%s", err, out)
	}
	return bin, nil
}
