package qemu

import (
	"context"
	"crypto/sha256"
	"errors"
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
	"tapwatch/internal/sandbox/template/templatetest"
	"tapwatch/internal/sandbox/vmm"
)

// slot makes a namespace with a tap as a pooled slot has it.
func slot(t *testing.T) (ns string) {
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

func spec(t *testing.T, ns string, tmpl template.Template) vmm.Spec {
	return vmm.Spec{
		SandboxID: "test", Netns: netns.Path(ns),
		Kernel: tmpl.Kernel, Initrd: tmpl.Initrd, Rootfs: tmpl.Rootfs,
		Cmdline: "ip=169.254.0.21::169.254.0.22:255.255.255.252:instance:eth0:off:tap0",
		NIC:     &vmm.NIC{Tap: "tap0", MAC: "02:FC:00:00:00:05"},
		Console: filepath.Join(t.TempDir(), "console.log"),
	}
}

func start(t *testing.T, s vmm.Spec) *vmm.Machine {
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
func run(t *testing.T, c *envd.Client, line string) string {
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
func waitFor(t *testing.T, m *vmm.Machine, what string, ok func() bool) {
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
func tapCounters(t *testing.T, ns string) (carrier bool, fromGuest uint64) {
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

func digest(t *testing.T, path string) [sha256.Size]byte {
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

func TestHealthyMachine(t *testing.T) {
	t.Parallel()
	tmpl := templatetest.Find(t, "base")
	ns := slot(t)
	before := digest(t, tmpl.Rootfs)
	s := spec(t, ns, tmpl)
	m := start(t, s)
	c := guest(ns)
	waitFor(t, m, "envd healthy", func() bool { return c.Health(t.Context()) == nil })

	t.Run("inside", func(t *testing.T) { inspect(t, c) })
	t.Run("second VMM on the tap", func(t *testing.T) {
		other := start(t, spec(t, ns, tmpl))
		<-other.Done()
		if err := other.Err(); !errors.Is(err, vmm.ErrTapBusy) {
			t.Errorf("error %v, want ErrTapBusy", err)
		}
	})
	t.Run("own session", func(t *testing.T) {
		if sid, _ := sidOf(m.PID()); sid != m.PID() {
			t.Errorf("session %d, not of its own", sid)
		}
	})
	t.Run("killed from outside", func(t *testing.T) {
		if err := syscall.Kill(m.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		<-m.Done()
		if err := m.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("error %v does not say killed", err)
		}
		if carrier, _ := tapCounters(t, ns); carrier {
			t.Error("the tap has carrier without a VMM")
		}
		if m.Process.Alive() {
			t.Error("the process was not reaped")
		}
	})
	if digest(t, tmpl.Rootfs) != before {
		t.Error("the template's image was written to")
	}
}

// inspect checks what a program finds in the guest.
func inspect(t *testing.T, c *envd.Client) {
	for line, want := range map[string]string{
		"python3 -c 'print(6*7)'":                                   "42",
		"python3 -c 'import json, ssl, sqlite3, asyncio; print(1)'": "1",
		"id -un; echo $HOME; pwd":                                   "user\n/home/user\n/home/user",
		"hostname":                                                  "instance",
		"cat /sys/fs/cgroup/cgroup.subtree_control":                 "cpu io memory pids",
		"cat /proc/1/comm":                                          "init",
		"cat /sys/devices/system/clocksource/*/current_clocksource": "tsc",
		"cat <(echo piped) /dev/stdin </dev/null":                   "piped",
		"stat -c %a /tmp /var/tmp /run":                             "1777\n1777\n755",
		"ip -o -4 addr show eth0 | grep -o 'inet [^ ]*'":            "inet 169.254.0.21/30",
		// An orphan is reaped by PID 1.
		"(sleep 0.1 &) ; sleep 1; grep -l '^State:.*zombie' /proc/[0-9]*/status | wc -l": "0",
	} {
		if got := run(t, c, line); got != want {
			t.Errorf("%s\nprints %q, want %q", line, got, want)
		}
	}
}

func TestNoDriver(t *testing.T) {
	t.Parallel()
	ns := slot(t)
	s := spec(t, ns, templatetest.Find(t, "no-driver"))
	m := start(t, s)
	waitFor(t, m, "init says why", consoleHas(s, "init: no network interface eth0: is the NIC driver there?"))
	if err := guest(ns).Health(t.Context()); err == nil {
		t.Error("a guest without driver answers")
	}
	carrier, fromGuest := tapCounters(t, ns)
	if !carrier {
		t.Error("no carrier, though the VMM holds the tap")
	}
	if fromGuest != 0 {
		t.Errorf("%d frames from a guest without driver", fromGuest)
	}
	if !consoleHas(s, "cannot load kernel/drivers/net/virtio_net.ko")() {
		t.Error("the console does not name the module")
	}
}

func TestNoEnvd(t *testing.T) {
	t.Parallel()
	ns := slot(t)
	s := spec(t, ns, templatetest.Find(t, "no-envd"))
	m := start(t, s)
	waitFor(t, m, "init says why", consoleHas(s, "init: /usr/bin/envd not found"))
	err := netns.Do(ns, func() error {
		_, err := net.DialTimeout("tcp", "169.254.0.21:49983", 10*time.Second)
		return err
	})
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want a refusal: the guest is up", err)
	}
}

func TestNoNIC(t *testing.T) {
	t.Parallel()
	ns := slot(t)
	s := spec(t, ns, templatetest.Find(t, "base"))
	s.NIC = nil
	m := start(t, s)
	waitFor(t, m, "init says why", consoleHas(s, "init: no network interface eth0"))
	if carrier, _ := tapCounters(t, ns); carrier {
		t.Error("the tap has carrier, though the VMM was not told of it")
	}
}

func TestNoDisk(t *testing.T) {
	t.Parallel()
	ns := slot(t)
	s := spec(t, ns, templatetest.Find(t, "base"))
	s.Rootfs = filepath.Join(t.TempDir(), "empty.ext4")
	if err := os.WriteFile(s.Rootfs, make([]byte, 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	m := start(t, s)
	waitFor(t, m, "the initrd says why", consoleHas(s, "init: cannot mount /dev/vda"))
}

func TestStartErrors(t *testing.T) {
	tmpl := templatetest.Find(t, "base")
	t.Run("no namespace", func(t *testing.T) {
		s := spec(t, "twtest-absent", tmpl)
		if _, err := Start(t.Context(), s, Options{Accel: TCG}); !errors.Is(err, netns.ErrNotExist) {
			t.Errorf("error %v, want netns.ErrNotExist", err)
		}
	})
	t.Run("no tap", func(t *testing.T) {
		s := spec(t, nettest.Netns(t), tmpl)
		if _, err := Start(t.Context(), s, Options{Accel: TCG}); !errors.Is(err, vmm.ErrNoTap) {
			t.Errorf("error %v, want ErrNoTap", err)
		}
	})
	t.Run("tap is no tap", func(t *testing.T) {
		s := spec(t, nettest.Netns(t), tmpl)
		s.NIC.Tap = "lo"
		if _, err := Start(t.Context(), s, Options{Accel: TCG}); !errors.Is(err, vmm.ErrNoTap) {
			t.Errorf("error %v, want ErrNoTap", err)
		}
	})
	t.Run("unknown accelerator", func(t *testing.T) {
		s := spec(t, "x", tmpl)
		if _, err := Start(t.Context(), s, Options{Accel: "xen"}); err == nil || !strings.Contains(err.Error(), "auto, kvm or tcg") {
			t.Errorf("error %v does not name the choices", err)
		}
	})
	t.Run("no QEMU", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if _, err := Start(t.Context(), spec(t, "x", tmpl), Options{Accel: TCG}); !errors.Is(err, ErrNoQEMU) {
			t.Errorf("error %v, want ErrNoQEMU", err)
		}
	})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	tmpl := templatetest.Find(t, "base")
	run := t.TempDir()
	v, err := Probe(t.Context(), tmpl.Kernel, tmpl.Initrd, run)
	if err != nil {
		t.Fatal(err)
	}
	if v.KVM == (v.Reason != "") {
		t.Errorf("verdict %+v: a reason belongs to no, and only to no", v)
	}
	t.Logf("verdict: %+v", v)
	// The second asks nobody: a kernel that does not exist cannot have been booted.
	again, err := Probe(t.Context(), "/nonexistent", "/nonexistent", run)
	if err != nil || again != v {
		t.Errorf("second verdict %+v, %v, not %+v", again, err, v)
	}
	// A verdict of another boot is none.
	old := v
	old.BootID = "another"
	if err := old.write(run); err != nil {
		t.Fatal(err)
	}
	if v, err := Probe(t.Context(), "/nonexistent", "/nonexistent", run); err != nil || v.KVM || v.Reason == again.Reason && again.KVM {
		t.Errorf("verdict %+v, %v from a kernel that does not exist", v, err)
	}
}

func sidOf(pid int) (int, error) {
	sid, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(sid), nil
}
