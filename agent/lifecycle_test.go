package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// Whatever becomes of a slot's namespace and devices, the agent's state ends
// right. What is gone has no state any more, and no series when its grace is over.
func TestLifecycle(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*host)
		want string
		is   func(path.Slot) bool // nil: the slot is gone
	}{
		"the namespace is deleted": {do: (*host).deleteNetns},
		"the tap is deleted": {
			do:   func(h *host) { h.onTap(netlink.LinkDel) },
			want: "no tap",
			is:   func(s path.Slot) bool { return s.Device.Exists == path.No && code(s) == "tap-missing" },
		},
		"the tap is renamed": {
			do:   func(h *host) { h.onTap(func(l netlink.Link) error { return rename(l, "tap9") }) },
			want: "the tap under its new name",
			is: func(s path.Slot) bool {
				return s.Device.Name == "tap9" && s.Device.WasCalled == "tap0" && s.Device.Exists == path.Yes && !finds(s, "tap-missing")
			},
		},
		"the tap is renamed and gets its name back": {
			do: func(h *host) {
				h.onTap(func(l netlink.Link) error { return rename(l, "tap9") })
				h.until("renamed", func(s path.Slot) bool { return s.Device.Name == "tap9" })
				nettest.In(h.t, h.slot.Netns, func() error {
					l, err := netlink.LinkByName("tap9")
					if err != nil {
						return err
					}
					return rename(l, "tap0")
				})
			},
			want: "the tap again",
			is: func(s path.Slot) bool {
				return s.Device.Name == "tap0" && s.Device.WasCalled == "" && s.Device.Exists == path.Yes && s.Traffic != nil
			},
		},
		"the tap is moved to another namespace": {
			do: func(h *host) {
				to, err := os.Open(netns.Path(nettest.Netns(h.t)))
				if err != nil {
					h.t.Fatal(err)
				}
				defer to.Close()
				h.onTap(func(l netlink.Link) error { return netlink.LinkSetNsFd(l, int(to.Fd())) })
			},
			want: "no tap here, and where there is one",
			is: func(s path.Slot) bool {
				return s.Device.Exists == path.No && code(s) == "tap-missing" && len(s.Device.Elsewhere) > 0
			},
		},
		"its ifindex is another tap's": {
			do: func(h *host) {
				nettest.AttachTap(h.t, h.slot.Netns, "tap0").Close()
				h.until("flapped", func(s path.Slot) bool { return s.Device.Ups > 0 })
				h.remakeTap()
			},
			want: "the new tap, which nobody has set up, with hooks of its own",
			is: func(s path.Slot) bool {
				return s.Device.Exists == path.Yes && s.Device.AdminUp == path.No && s.Traffic != nil
			},
		},
		"the tap is set down": {
			do:   func(h *host) { nettest.SetUp(h.t, h.slot.Netns, "tap0", false) },
			want: "administratively down, which is no loss of carrier",
			is:   func(s path.Slot) bool { return s.Device.AdminUp == path.No && code(s) == "tap-down" },
		},
		"the veth ends": {
			do: func(h *host) {
				host := nettest.Veth(h.t, h.slot.Netns)
				l, err := netlink.LinkByName(host)
				if err == nil {
					err = netlink.LinkDel(l)
				}
				if err != nil {
					h.t.Fatal(err)
				}
				nettest.AttachTap(h.t, h.slot.Netns, "tap0")
			},
			want: "the tap's carrier is still heard",
			is:   func(s path.Slot) bool { return s.Device.Carrier == path.Yes },
		},
		"the name becomes another namespace's": {
			do: func(h *host) {
				h.deleteNetns()
				if err := netns.Create(h.slot.Netns); err != nil {
					h.t.Fatal(err)
				}
				nettest.Tap(h.t, h.slot.Netns, "tap0")
				var err error
				if h.slot.Cookie, err = netns.CookieOf(h.slot.Netns); err != nil {
					h.t.Fatal(err)
				}
				h.put()
				h.onlyOne()
			},
			want: "the new namespace's tap",
			is:   func(s path.Slot) bool { return s.Device.Exists == path.Yes && s.Traffic != nil },
		},
		"the namespace has another name, and loses the first": {
			do: func(h *host) {
				h.alias()
				if err := netns.Delete(h.slot.Netns); err != nil {
					h.t.Fatal(err)
				}
				h.until("the first name lost", func(s path.Slot) bool { return s.Netns != h.slot.Netns })
				h.onlyOne()
			},
			want: "the slot under its other name",
			is:   func(s path.Slot) bool { return s.Netns != "" && s.Device.Exists == path.Yes && s.Traffic != nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t)
			h.bindVMM(registry.Running) // one that holds nothing: this test's process holds others' taps
			h.until("watched", func(s path.Slot) bool { return s.Sandbox != nil && s.Traffic != nil })
			c.do(h)
			if c.is == nil {
				h.untilGone()
				h.hasCountersOnly("itest")
				h.graceEnds()
				if left := grep(h.metrics(), h.slot.Netns); left != "" {
					t.Errorf("left behind:\n%s", left)
				}
				return
			}
			s := h.until(c.want, c.is)
			h.graceEnds()
			h.hasNoOther(s)
		})
	}
}

// deleteNetns removes the slot's namespace with all that is in it.
func (h *host) deleteNetns() {
	h.relay.Close()
	if err := netns.Delete(h.slot.Netns); err != nil {
		h.t.Fatal(err)
	}
}

// onTap does something to the slot's tap inside its namespace.
func (h *host) onTap(fn func(netlink.Link) error) {
	h.t.Helper()
	nettest.In(h.t, h.slot.Netns, func() error {
		l, err := netlink.LinkByName("tap0")
		if err != nil {
			return err
		}
		return fn(l)
	})
}

// remakeTap deletes the tap and makes another with its name and number.
func (h *host) remakeTap() {
	h.t.Helper()
	var index int
	h.onTap(func(l netlink.Link) error { index = l.Attrs().Index; return netlink.LinkDel(l) })
	nettest.In(h.t, h.slot.Netns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.IoctlSetPointerInt(fd, unix.TUNSETIFINDEX, index); err != nil {
			return err
		}
		ifr, err := unix.NewIfreq("tap0")
		if err != nil {
			return err
		}
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			return err
		}
		return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
	})
	h.onTap(func(l netlink.Link) error {
		if l.Attrs().Index != index {
			return fmt.Errorf("the new tap has number %d, not %d", l.Attrs().Index, index)
		}
		return nil
	})
}

// alias gives the slot's namespace a second name.
func (h *host) alias() {
	h.t.Helper()
	name := nettest.RandomName("twtest-")
	file := filepath.Join(netns.Dir, name)
	if err := os.WriteFile(file, nil, 0o444); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := netns.Delete(name); err != nil {
			h.t.Error(err)
		}
	})
	if err := unix.Mount(netns.Path(h.slot.Netns), file, "", unix.MS_BIND, ""); err != nil {
		h.t.Fatal(err)
	}
}

// onlyOne waits until there is one slot with a record of this test.
func (h *host) onlyOne() {
	h.t.Helper()
	nettest.Eventually(h.t, "one slot of ours", func() bool {
		n := 0
		for _, s := range h.agent.Slots() {
			if s.Sandbox != nil && s.Sandbox.ID == "itest" && s.Cookie == h.slot.Cookie {
				n++
			}
		}
		return n == 1
	})
}

// hasNoOther sees that all series of the sandbox are of one namespace and device.
func (h *host) hasNoOther(s path.Slot) {
	h.t.Helper()
	for line := range strings.Lines(grep(h.metrics(), `sandbox_id="itest"`)) {
		if !strings.Contains(line, fmt.Sprintf("netns=%q", s.Netns)) {
			h.t.Errorf("a series of another namespace than %s: %s", s.Netns, line)
		}
		if strings.HasPrefix(line, "tapwatch_network_") && s.Device.Exists == path.No {
			h.t.Errorf("a tap that is gone has a series: %s", line)
		}
	}
}

// rename goes by way of down: before Linux 6.2 nothing that is up can be renamed.
func rename(l netlink.Link, name string) error {
	return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetName(l, name), netlink.LinkSetUp(l))
}
