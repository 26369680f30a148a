package qemu

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/template/templatetest"
	"tapwatch/internal/sandbox/vmm"
)

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
		if sid, err := unix.Getsid(m.PID()); err != nil || sid != m.PID() {
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
