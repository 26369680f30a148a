package network

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tapwatch/internal/e2b"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// freeSlot returns a slot whose names nobody has, high up where no launcher
// comes, and removes it at the test's end.
func freeSlot(t testing.TB) Slot {
	t.Helper()
	nettest.NeedRoot(t)
	for range 100 {
		s := Slot{Index: 20000 + rand.IntN(12000)}
		if free(s) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := Remove(s); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	t.Fatal("no free slot found")
	return Slot{}
}

func TestNamesAndAddressesAreE2Bs(t *testing.T) {
	for _, c := range []struct {
		index                           int
		ns, veth, host, vethIP, vpeerIP string
	}{
		{1, "ns-1", "veth-1", "10.11.0.1", "10.12.0.2", "10.12.0.3"},
		{110, "ns-110", "veth-110", "10.11.0.110", "10.12.0.220", "10.12.0.221"},
		{300, "ns-300", "veth-300", "10.11.1.44", "10.12.2.88", "10.12.2.89"},
		{e2b.MaxIndex, "ns-32767", "veth-32767", "10.11.127.255", "10.12.255.254", "10.12.255.255"},
	} {
		s := Slot{c.index}
		got := []string{s.Netns(), s.HostVeth(), s.HostIP().String(), s.VethIP().String(), s.VpeerIP().String()}
		if want := []string{c.ns, c.veth, c.host, c.vethIP, c.vpeerIP}; !slices.Equal(got, want) {
			t.Errorf("slot %d: %v, want %v", c.index, got, want)
		}
	}
}

func TestIndexOutOfRange(t *testing.T) {
	for _, i := range []int{-1, 0, e2b.MaxIndex + 1} {
		for name, fn := range map[string]func(Slot) error{"create": Create, "remove": Remove} {
			err := fn(Slot{i})
			if err == nil || !strings.Contains(err.Error(), "holds slots 1 to 32767") {
				t.Errorf("%s %d: %v", name, i, err)
			}
		}
	}
}

func TestCreateMakesTheWholeSlot(t *testing.T) {
	s := freeSlot(t)
	if err := Create(s); err != nil {
		t.Fatal(err)
	}
	host := linkOf(t, s.HostVeth())
	wantAddr(t, host, s.VethIP().String()+"/31")
	wantUp(t, host)
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4,
		&netlink.Route{LinkIndex: host.Attrs().Index, Dst: ipNet(s.HostIP(), 32)}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	if err != nil || len(routes) != 1 || routes[0].Gw.String() != s.VpeerIP().String() {
		t.Errorf("route to %s: %v, %v", s.HostIP(), routes, err)
	}
	nettest.In(t, s.Netns(), func() error {
		for name, addr := range map[string]string{"lo": "127.0.0.1/8", "eth0": s.VpeerIP().String() + "/31", "tap0": "169.254.0.22/30"} {
			l := linkOf(t, name)
			wantAddr(t, l, addr)
			wantUp(t, l)
		}
		tap := linkOf(t, "tap0").(*netlink.Tuntap)
		if mac := tap.HardwareAddr.String(); !strings.EqualFold(mac, e2b.TapMAC) {
			t.Errorf("MAC of tap0 is %s", mac)
		}
		if tap.RawFlags&unix.IFF_LOWER_UP != 0 {
			t.Error("tap0 has carrier with nobody attached")
		}
		for file, want := range map[string]string{"ip_forward": "1", "ip_local_reserved_ports": "49983,49999"} {
			if b, err := os.ReadFile("/proc/sys/net/ipv4/" + file); err != nil || strings.TrimSpace(string(b)) != want {
				t.Errorf("%s is %q, %v", file, b, err)
			}
		}
		return nil
	})
}

// The vpeer answers the host, and the namespace finds its way back by the
// default route for an address that is not on the link.
func TestVpeerIsReachable(t *testing.T) {
	s := freeSlot(t)
	if err := Create(s); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	nettest.In(t, s.Netns(), func() (err error) {
		l, err = net.Listen("tcp4", net.JoinHostPort(s.VpeerIP().String(), "49983"))
		return err
	})
	defer l.Close()
	d := net.Dialer{Timeout: time.Minute}
	c, err := d.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestVMMAttachesToTheTap(t *testing.T) {
	s := freeSlot(t)
	if err := Create(s); err != nil {
		t.Fatal(err)
	}
	nettest.AttachTap(t, s.Netns(), s.Tap())
	nettest.In(t, s.Netns(), func() error {
		if l := linkOf(t, "tap0"); l.Attrs().RawFlags&unix.IFF_LOWER_UP == 0 {
			return errors.New("no carrier with a holder attached")
		}
		return nil
	})
}

// However far making a slot came, Remove leaves nothing, twice over.
func TestRemoveFromAnyState(t *testing.T) {
	inner := func(n int) func(Slot) error {
		return func(s Slot) error {
			return netns.Do(s.Netns(), func() error {
				h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
				if err != nil {
					return err
				}
				defer h.Close()
				for _, step := range innerSteps[:n] {
					if err := step(h, s); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	file := func(s Slot) error { return os.WriteFile(netns.Path(s.Netns()), nil, 0o444) }
	lostName := func(s Slot) error { // the namespace lives on, by its link, without a name
		return errors.Join(Create(s), netns.Delete(s.Netns()))
	}
	cases := []struct {
		name  string
		steps []func(Slot) error
	}{
		{"nothing", nil},
		{"name not yet bound", []func(Slot) error{file}},
		{"namespace", []func(Slot) error{makeNamespace}},
		{"veth", []func(Slot) error{makeNamespace, makeVeth}},
		{"furnished", []func(Slot) error{makeNamespace, makeVeth, furnish}},
		{"whole", []func(Slot) error{Create}},
		{"namespace unnamed", []func(Slot) error{lostName}},
	}
	for n := 1; n < len(innerSteps); n++ {
		cases = append(cases, struct {
			name  string
			steps []func(Slot) error
		}{fmt.Sprintf("inner step %d", n), []func(Slot) error{makeNamespace, makeVeth, inner(n)}})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := freeSlot(t)
			for _, step := range c.steps {
				if err := step(s); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := Remove(s); err != nil {
					t.Fatal(err)
				}
				if err := free(s); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A VMM that still runs does not keep the tap, nor the names.
func TestRemoveUnderAHolder(t *testing.T) {
	s := freeSlot(t)
	if err := Create(s); err != nil {
		t.Fatal(err)
	}
	vmm := nettest.AttachTap(t, s.Netns(), s.Tap())
	if err := Remove(s); err != nil {
		t.Fatal(err)
	}
	if err := free(s); err != nil {
		t.Error(err)
	}
	if _, err := vmm.Write(make([]byte, 64)); err == nil {
		t.Error("the holder still has a tap")
	}
}

func TestCreateWhereNamesAreTaken(t *testing.T) {
	t.Run("namespace", func(t *testing.T) {
		s := freeSlot(t)
		if err := netns.Create(s.Netns()); err != nil {
			t.Fatal(err)
		}
		wantInUse(t, s, "namespace "+s.Netns()+" exists")
		if _, err := netns.CookieOf(s.Netns()); err != nil {
			t.Error("what stood there is gone:", err)
		}
	})
	t.Run("link", func(t *testing.T) {
		s := freeSlot(t)
		attrs := netlink.NewLinkAttrs()
		attrs.Name = s.HostVeth()
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nettest.RandomName("tw")}); err != nil {
			t.Fatal(err)
		}
		wantInUse(t, s, "link "+s.HostVeth()+" exists")
		linkOf(t, s.HostVeth())
	})
}

func TestMissingCapabilityIsNamed(t *testing.T) {
	nettest.NeedRoot(t)
	got := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread dies with its rights gone
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{}
		data[0].Permitted, data[0].Effective = 1<<unix.CAP_SYS_ADMIN, 1<<unix.CAP_SYS_ADMIN
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			got <- err
			return
		}
		got <- Check()
	}()
	err := <-got
	if !errors.Is(err, ErrPrivilege) || !strings.Contains(err.Error(), "needs CAP_NET_ADMIN;") {
		t.Fatal(err)
	}
}

func wantInUse(t *testing.T, s Slot, why string) {
	t.Helper()
	err := Create(s)
	want := fmt.Sprintf("slot %d is in use: %s", s.Index, why)
	if !errors.Is(err, ErrInUse) || err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func linkOf(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return l
}

func wantAddr(t *testing.T, l netlink.Link, want string) {
	t.Helper()
	addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if a.IPNet.String() == want {
			return
		}
	}
	t.Errorf("%s has %v, not %s", l.Attrs().Name, addrs, want)
}

func wantUp(t *testing.T, l netlink.Link) {
	t.Helper()
	if l.Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("%s is down", l.Attrs().Name)
	}
}
