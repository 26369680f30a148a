package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
)

// TestCaptureCommand records at real devices until Ctrl-C, and writes what it has.
func TestCaptureCommand(t *testing.T) {
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	host := nettest.Veth(t, ns)
	nettest.Tap(t, ns, "tap0")
	cookie, err := netns.CookieOf(netns.Path(ns))
	if err != nil {
		t.Fatal(err)
	}
	slot := path.Slot{Facts: path.Facts{Netns: ns, Cookie: cookie, Device: path.Device{Name: "tap0"}, Veth: path.Veth{Host: host, Peer: "eth0"}, Sandbox: &path.Sandbox{ID: "i1", Name: "web"}}}
	twin := slot
	twin.Sandbox = &path.Sandbox{ID: "i2", Name: "web"}
	url, _ := serveSlots(t, []path.Slot{slot, twin})
	dir := t.TempDir()
	file := filepath.Join(dir, "a.pcapng")
	p := proctest.StartCmd(t, exec.CommandContext(t.Context(), "tapwatch", "capture", "i1", "--agent-url", url, "-w", file, "--for", "10m"))
	p.WaitFor(t, 0, `^recording `+host+`, eth0, tap0 for 10m0s`)
	if err := p.Cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.WaitFor(t, 0, `^\d+ frames at 3 points`)
	nettest.Eventually(t, "the file", func() bool { _, err := os.Stat(file); return err == nil })
	b, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(b, []byte("relay>guest tap0")) || !bytes.Contains(b, []byte("proxy>relay "+host)) {
		t.Errorf("%v: %q", err, b)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v: others may read the packets: %v", err, st.Mode())
	}

	link := filepath.Join(t.TempDir(), "stdout")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}

	// Nothing is left of what goes wrong.
	for args, want := range map[string]string{
		"web -w " + file + "2":            "2 sandboxes are called web",
		"i1 -w " + dir + "/none/a.pcapng": "no such file or directory",
		"i1 -w " + dir:                    "is not a regular file",
		"i1 -w " + link:                   "is not a regular file",
		"nobody -w " + file + "2":         "no sandbox or slot of this host",
	} {
		cmd := exec.CommandContext(t.Context(), "tapwatch", append([]string{"capture", "--agent-url", url}, strings.Fields(args)...)...)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", args, err, out)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v is left, %v", left, err)
	}
}
