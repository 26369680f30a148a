package discover

import (
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// stranger starts a process that reads until stop, in a namespace of its own, or
// in that of another process where of is not 0.
func stranger(t *testing.T, of int) (pid int, stop func()) {
	t.Helper()
	cmd := exec.Command("cat")
	ns := ""
	if of == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	} else {
		ns = nsPath(of)
	}
	c := nettest.Start(t, ns, cmd)
	_, _ = io.WriteString(c.In, "here\n") // it has come to its own program once it answers
	c.Hears(t, "here")
	return cmd.Process.Pid, c.Stop
}

func TestNamespaceOfAProcessAlone(t *testing.T) {
	w := start(t, Config{})
	first, stopFirst := stranger(t, 0)
	cookie, err := netns.CookieOf(nsPath(first))
	if err != nil {
		t.Fatal(err)
	}
	w.Rescan()
	nettest.Eventually(t, "found", func() bool { _, there := w.Get(cookie); return there })
	e, _ := w.Get(cookie)
	if e.Name != "" || e.Names != nil || e.NSID == netns.NoNSID || e.Inode == 0 || e.Path != nsPath(first) || e.Slot != nil || e.VMMs != nil || e.Last != "" {
		t.Errorf("found %+v", e)
	}
	if got, ok := w.Resolve(e.NSID); !ok || got != cookie {
		t.Errorf("nsid %d resolved to %d, %v", e.NSID, got, ok)
	}
	veth := vethTo(t, first)

	// Another process in it keeps it, and is the way in when the first has gone.
	second, stopSecond := stranger(t, first)
	stopFirst()
	w.Rescan()
	nettest.Eventually(t, "entered by the second process", func() bool {
		now, there := w.Get(cookie)
		return there && now.Path == nsPath(second) && now.NSID == e.NSID
	})
	// Nothing but the kernel tells that the last one went.
	stopSecond()
	w.gone(cookie)
	nettest.Eventually(t, "its veth gone: nobody keeps it", func() bool {
		_, err := netlink.LinkByName(veth)
		return err != nil
	})
}

func vethTo(t *testing.T, pid int) (host string) {
	t.Helper()
	host = nettest.RandomName("tw")
	veth := &netlink.Veth{PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	veth.Name = host
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) }) // gone already where the namespace is
	return host
}

func TestInodeOfLink(t *testing.T) {
	const own = netns.Own // other threads may be elsewhere for a moment
	f, err := os.Open(own)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, want := inodeOfLink(own), inodeOf(f); got != want || got == 0 {
		t.Errorf("own namespace is inode %d, stat says %d", got, want)
	}
	for _, path := range []string{"/proc/self/ns/mnt", "/proc/self/exe", "/nothing/here"} {
		if got := inodeOfLink(path); got != 0 {
			t.Errorf("%s: inode %d of a network namespace", path, got)
		}
	}
}
