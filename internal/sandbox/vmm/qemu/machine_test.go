package qemu

import (
	"context"
	"crypto/sha256"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/template"
	"tapwatch/internal/sandbox/vmm"
)

// slot makes a namespace with a tap as a pooled slot has it.
func slot(t testing.TB) (ns string) {
	t.Helper()
	ns = nettest.Netns(t)
	nettest.Tap(t, ns, "tap0")
	nettest.In(t, ns, func() error {
		tap, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr("169.254.0.22/30")
		if err != nil {
			return err
		}
		return netlink.AddrAdd(tap, addr)
	})
	return ns
}

func spec(t testing.TB, ns string, tmpl template.Template) vmm.Spec {
	return vmm.Spec{
		SandboxID: "test", Netns: netns.Path(ns),
		Kernel: tmpl.Kernel, Initrd: tmpl.Initrd, Rootfs: tmpl.Rootfs,
		Cmdline: "ip=169.254.0.21::169.254.0.22:255.255.255.252:instance:eth0:off:tap0",
		NIC:     &vmm.NIC{Tap: "tap0", MAC: "02:FC:00:00:00:05"},
		Console: filepath.Join(t.TempDir(), "console.log"),
	}
}

func start(t testing.TB, s vmm.Spec) *vmm.Machine {
	t.Helper()
	m, err := Start(t.Context(), s, Options{Accel: TCG})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			b, _ := os.ReadFile(s.Console)
			t.Logf("console:\n%s", b)
		}
	})
	return m
}

// guest returns a client of the guest's envd that dials inside the namespace.
func guest(ns string) *envd.Client {
	dial := func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = netns.Do(ns, func() error {
			conn, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	return &envd.Client{
		BaseURL: "http://169.254.0.21:49983",
		HTTP:    &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}},
	}
}

// run executes a line of shell in the guest and returns what it prints.
func run(t testing.TB, c *envd.Client, line string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var stdout, stderr strings.Builder
	code, err := c.Exec(ctx, envd.ExecRequest{Cmd: "/bin/bash", Args: []string{"-l", "-c", line}}, &stdout, &stderr)
	if err != nil || code != 0 {
		t.Fatalf("%s: exit code %d, %v\n%s", line, code, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String())
}

// waitFor polls for as long as a boot under emulation on a busy machine may take.
func waitFor(t testing.TB, m *vmm.Machine, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		select {
		case <-m.Done():
			t.Fatalf("waiting for %s: machine ended: %v", what, m.Err())
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func consoleHas(s vmm.Spec, line string) func() bool {
	return func() bool {
		b, err := os.ReadFile(s.Console)
		return err == nil && strings.Contains(string(b), line)
	}
}

// tapCounters returns carrier and the packets that the guest has sent.
func tapCounters(t testing.TB, ns string) (carrier bool, fromGuest uint64) {
	t.Helper()
	nettest.In(t, ns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		carrier, fromGuest = l.Attrs().RawFlags&syscall.IFF_RUNNING != 0, l.Attrs().Statistics.RxPackets
		return nil
	})
	return carrier, fromGuest
}

func digest(t testing.TB, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
