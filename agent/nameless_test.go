package agent

import (
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// A namespace that only a process holds is watched as the named ones are:
// carrier, hooks, holder, and its end.
func TestNamespaceWithoutNameIsWatched(t *testing.T) {
	h := start(t)
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	leave := nettest.Start(t, "", cmd).Stop
	ns := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/net"
	cookie, err := netns.CookieOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	nettest.Tap(t, ns, "tap0")
	nameless := registry.Slot{Index: 2, Netns: "none", Cookie: cookie, HostVeth: "", Tap: "tap0",
		VpeerIP: "10.12.0.5", GuestIP: "169.254.0.21", Owner: h.slot.Owner}
	if err := h.dir.Put(nameless); err != nil {
		t.Fatal(err)
	}
	h.agent.discover.Rescan()
	slot := func(ok func(path.Slot) bool) func() bool {
		return func() bool {
			for _, s := range h.agent.Slots() {
				if s.Cookie == cookie {
					return ok(s)
				}
			}
			return false
		}
	}
	nettest.Eventually(t, "its tap known, with hooks", slot(func(s path.Slot) bool {
		return s.Device.Exists == path.Yes && s.Device.Carrier == path.No && s.Traffic != nil
	}))
	tap := nettest.AttachTap(t, ns, "tap0")
	nettest.Eventually(t, "carrier, and who holds it", slot(func(s path.Slot) bool {
		return s.Device.Carrier == path.Yes && len(s.Device.Holders) == 1
	}))
	tap.Close() // an open tap would keep the namespace
	leave()
	nettest.Eventually(t, "the slot gone", func() bool { return !slot(func(path.Slot) bool { return true })() })
}
