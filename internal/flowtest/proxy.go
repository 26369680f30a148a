package flowtest

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// Proxy is a program that carries TCP connections, on either layer.
type Proxy struct {
	Name string
	// Adversarial ones hide what belongs together: nothing may be said of their
	// connections, as long as it is not wrong.
	Adversarial bool
	command     func(t testing.TB, listen, to netip.AddrPort) *exec.Cmd
}

// Start runs the proxy inside a namespace, until the test ends, and waits until
// it listens.
func (p Proxy) Start(t testing.TB, ns string, listen, to netip.AddrPort) *proctest.Process {
	t.Helper()
	run := startIn(t, ns, p.command(t, listen, to))
	waitForListener(t, ns, listen, run)
	return run
}

// Proxies are those that do not help whoever watches them.
func Proxies() []Proxy {
	return []Proxy{
		{Name: "socat", command: socat},
		{Name: "haproxy", command: haproxy(1, false)},
		{Name: "haproxy-splice", command: haproxy(1, true)},
		{Name: "haproxy-2-splice", command: haproxy(2, true)},
		{Name: "nginx", command: nginx},
		{Name: "go-copy", command: ours("copy")},
		{Name: "go-readwrite", command: ours("readwrite")},
		{Name: "batch", Adversarial: true, command: ours("batch")},
		{Name: "bounce", Adversarial: true, command: ours("bounce")},
		{Name: "handover", Adversarial: true, command: ours("handover")},
		{Name: "handover-own", Adversarial: true, command: ours("handover", "-own")},
	}
}

// Slow is a Go proxy that sleeps so long between what it read of a client and
// what it sends on, and says "slept N", in nanoseconds, each time.
func Slow(sleep string) Proxy {
	return Proxy{Name: "slow", command: ours("readwrite", "-sleep", sleep)}
}

func ours(name string, flags ...string) func(testing.TB, netip.AddrPort, netip.AddrPort) *exec.Cmd {
	return func(t testing.TB, listen, to netip.AddrPort) *exec.Cmd {
		return part(t, name, append(flags, listen.String(), to.String())...)
	}
}

// socat's backlog is 5 of itself, which loses connections for seconds.
func socat(t testing.TB, listen, to netip.AddrPort) *exec.Cmd {
	return exec.Command(tool(t, "socat"),
		fmt.Sprintf("TCP4-LISTEN:%d,bind=%s,fork,reuseaddr,backlog=512", listen.Port(), listen.Addr()), "TCP4:"+to.String())
}

func haproxy(threads int, splice bool) func(testing.TB, netip.AddrPort, netip.AddrPort) *exec.Cmd {
	return func(t testing.TB, listen, to netip.AddrPort) *exec.Cmd {
		options := ""
		if splice {
			options = "option splice-request\n\toption splice-response"
		}
		return exec.Command(tool(t, "haproxy"), "-db", "-q", "-f", config(t, `
global
	nbthread %d
	maxconn 2000
listen path
	mode tcp
	bind %s
	server guest %s
	timeout connect 10s
	timeout client 5m
	timeout server 5m
	%s
`, threads, listen, to, options))
	}
}

func nginx(t testing.TB, listen, to netip.AddrPort) *exec.Cmd {
	return nginxWith(t, fmt.Sprintf(`
load_module %s;
worker_processes 2;
stream {
	server {
		listen %s;
		proxy_pass %s;
	}
}
`, streamModule(t), listen, to))
}

func nginxWith(t testing.TB, directives string) *exec.Cmd {
	t.Helper()
	file := config(t, `%s
daemon off;
user root;
pid nginx.pid;
error_log stderr;
events { worker_connections 2000; }
`, directives)
	return exec.Command(tool(t, "nginx"), "-e", "stderr", "-p", filepath.Dir(file), "-c", file)
}

// streamModule is beside nginx, wherever scripts/deps put both.
func streamModule(t testing.TB) string {
	t.Helper()
	const module = "lib/nginx/modules/ngx_stream_module.so"
	bin, err := filepath.EvalSymlinks(tool(t, "nginx"))
	if err != nil {
		t.Fatal(err)
	}
	if beside := filepath.Join(filepath.Dir(bin), "..", module); exists(beside) {
		return beside
	}
	return "/usr/" + module
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func config(t testing.TB, format string, args ...any) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// waitForListener returns when somebody listens at an address of a namespace.
// Nobody calls there, which the proxy and whoever watches it would see.
func waitForListener(t testing.TB, ns string, at netip.AddrPort, p *proctest.Process) {
	t.Helper()
	ip := at.Addr().As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X 00000000:0000 0A", ip[3], ip[2], ip[1], ip[0], at.Port())
	nettest.Eventually(t, "a listener at "+at.String(), func() bool {
		select {
		case <-p.Ended:
			t.Fatalf("%s ended: %s", filepath.Base(p.Cmd.Path), p.Output())
		default:
		}
		listens := false
		nettest.In(t, ns, func() error {
			f, err := os.Open("/proc/thread-self/net/tcp")
			if err != nil {
				return err
			}
			defer f.Close()
			for s := bufio.NewScanner(f); s.Scan(); {
				listens = listens || strings.Contains(s.Text(), want)
			}
			return nil
		})
		return listens
	})
}

// Program is a proxy of this module, built as bin.
func Program(name, bin string, args func(listen, to netip.AddrPort) []string) Proxy {
	return Proxy{Name: name, command: func(_ testing.TB, listen, to netip.AddrPort) *exec.Cmd {
		return exec.Command(bin, args(listen, to)...)
	}}
}

// Relay is `tapwatch relay`, with further flags.
func Relay(bin string, flags ...string) Proxy {
	return Program("tapwatch-relay", bin, func(listen, to netip.AddrPort) []string {
		return append([]string{"relay", "--netns", "/proc/self/ns/net", "--listen", listen.String(), "--to", to.String()}, flags...)
	})
}
