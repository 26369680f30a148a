package discover

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

func TestOurOwnNamespace(t *testing.T) {
	w := start(t, Config{})
	e, there := w.Get(w.Self())
	if !there || !e.Host || e.Label() != HostName || e.NSID != netns.NoNSID || !e.Linked() || e.Inode == 0 || e.Slot != nil {
		t.Fatalf("%v: %+v", there, e)
	}
	inside := func(path string) {
		t.Helper()
		var in netns.Cookie
		err := netns.Do(path, func() (err error) {
			in, err = netns.Current()
			return err
		})
		if err != nil || in != w.Self() {
			t.Errorf("%s leads to %d, %v, want %d", path, in, err, w.Self())
		}
	}
	inside(e.Path)
	// It may have names as others do, and even a slot's name makes it nobody's slot.
	name := "forkd-child-9" + strconv.Itoa(100_000+rand.IntN(900_000))
	bind(t, netns.Own, name)
	e = w.named(name, "found by its name", present)
	if e.Cookie != w.Self() || !e.Host || e.Label() != HostName || e.Name != name || e.NSID != netns.NoNSID || e.Slot != nil {
		t.Errorf("%+v", e)
	}
	inside(e.Path)
	inside(e.Name)
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "without a name again", func() bool {
		e, there = w.Get(w.Self())
		return !there || e.Names == nil
	})
	if !there || e.Label() != HostName {
		t.Errorf("%v: %+v", there, e)
	}
}

// bind gives a namespace a name until the test's end.
func bind(t *testing.T, from, name string) {
	t.Helper()
	path := netns.Path(name)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netns.Delete(name) }) // gone already is as well
	if err := unix.Mount(from, path, "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

func TestNamespaceThatLosesItsName(t *testing.T) {
	// Mounts tell nothing by themselves.
	w := start(t, Config{Every: 10 * time.Millisecond, FullEvery: time.Hour, rarely: 2})
	pid, _ := stranger(t, 0)
	cookie, err := netns.CookieOf(nsPath(pid))
	if err != nil {
		t.Fatal(err)
	}
	get := func(what string, ok func(Entry) bool) (e Entry) {
		t.Helper()
		nettest.Eventually(t, what, func() bool {
			e, _ = w.Get(cookie)
			return ok(e)
		})
		return e
	}
	w.Rescan()
	e := get("found", func(e Entry) bool { return e.Cookie == cookie })
	if want := "net:[" + strconv.FormatUint(e.Inode, 10) + "]"; e.Label() != want || inodeOfLink(nsPath(pid)) != e.Inode {
		t.Errorf("without a name it is %s, want %s", e.Label(), want)
	}
	name := nettest.RandomName("twtest-")
	bind(t, nsPath(pid), name)
	e = get("named", func(e Entry) bool { return e.Name == name })
	if e.Label() != name || e.Last != "" || e.NSID == netns.NoNSID {
		t.Errorf("named: %+v", e)
	}

	// umount -l leaves the file, as a name of nothing.
	if err := unix.Unmount(netns.Path(name), unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	e = get("its name lost", func(e Entry) bool { return e.Name == "" && e.Path != "" })
	if e.Label() != name || e.Last != name || e.Path != nsPath(pid) || len(e.Names) != 0 {
		t.Errorf("its name lost: %+v", e)
	}

	// Who takes the name takes it wholly: no two have one label.
	other, _ := stranger(t, 0)
	if err := unix.Mount(nsPath(other), netns.Path(name), "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	w.named(name, "another's now", func(e Entry) bool { return e.Cookie != cookie })
	if e = get("its name forgotten", func(e Entry) bool { return e.Last == "" }); e.Label()[:5] != "net:[" {
		t.Errorf("its name taken: %s", e.Label())
	}
	if err := netns.Delete(name); err != nil {
		t.Fatal(err)
	}
	get("still without", func(e Entry) bool { return e.Last == "" && e.Name == "" })
}

func TestSlotsNameComesFirst(t *testing.T) {
	rules := mustRules(t)
	if got := label([]string{"a", "forkd-child-7", "ns-1"}, rules); got != "forkd-child-7" {
		t.Error(got)
	}
	if got := label(slices.Sorted(slices.Values([]string{"x", "b"})), rules); got != "b" {
		t.Error(got)
	}
}
