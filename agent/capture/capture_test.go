package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"math/rand/v2"

	"github.com/vishvananda/netlink"

	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// way is a path of three devices: a veth pair into a namespace, whose kernel passes on
// to a second pair, and a guest behind that.
type way struct {
	plan  Plan
	slot  string
	guest netip.Addr
}

func newWay(t *testing.T) way {
	t.Helper()
	slot, guest := nettest.Netns(t), nettest.Netns(t)
	near := nettest.Veth(t, slot)
	host := netip.AddrFrom4([4]byte{198, 18, byte(rand.N(256)), byte(rand.N(64) * 4)})
	eth0, tap := host.Next(), host.Next().Next()
	g := tap.Next()
	must(t, up(near, host.String()+"/31"))
	nettest.In(t, slot, func() error {
		f, err := os.Open(netns.Path(guest))
		if err != nil {
			return err
		}
		defer f.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tap0"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "g0", PeerNamespace: netlink.NsFd(int(f.Fd()))}); err != nil {
			return err
		}
		if err := up("eth0", eth0.String()+"/31"); err != nil {
			return err
		}
		return up("tap0", tap.String()+"/31")
	})
	nettest.In(t, guest, func() error {
		if err := up("g0", g.String()+"/31"); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.IP(tap.AsSlice())})
	})
	must(t, netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IP(tap.AsSlice()), Mask: net.CIDRMask(31, 32)}, Gw: net.IP(eth0.AsSlice())}))
	var l net.Listener
	nettest.In(t, guest, func() (err error) { l, err = net.Listen("tcp4", netip.AddrPortFrom(g, port).String()); return err })
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
	return way{Plan{
		Points: []Point{{Name: "proxy>relay " + near, Device: near}, {Name: "proxy>relay eth0", Netns: netns.Path(slot), Device: "eth0"}, {Name: "relay>guest tap0", Netns: netns.Path(slot), Device: "tap0"}},
		Pairs:  []Pair{{Near: 0, Far: 1}, {Near: 1, Far: 2, Service: port}},
	}, slot, g}
}

const port = 49983

func (w way) forward(t *testing.T, on string) {
	t.Helper()
	nettest.In(t, w.slot, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(on), 0) })
}

// record records while something is done.
func (w way) record(t *testing.T, l Limits, do func()) *Recording {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { time.Sleep(100 * time.Millisecond); do(); time.Sleep(2 * passes); cancel() }()
	if l.For == 0 {
		l.For = time.Minute
	}
	if l.Bytes == 0 {
		l.Bytes = 64 << 20
	}
	r, err := Record(ctx, w.plan.Points, l)
	must(t, err)
	return r
}

// ask sends so many bytes to the guest and has them back.
func (w way) ask(t *testing.T, bytes int) {
	c, err := net.DialTimeout("tcp4", netip.AddrPortFrom(w.guest, port).String(), 2*time.Second)
	if err != nil {
		return // it is what some tests want
	}
	defer c.Close()
	go func() { _, _ = c.Write(make([]byte, bytes)) }()
	if _, err := io.CopyN(io.Discard, c, int64(bytes)); err != nil {
		t.Error(err)
	}
}

// TestCapture records real packets, large ones that kernels cut and join among them:
// nothing is called lost that was not, and what a kernel does not pass on is.
func TestCapture(t *testing.T) {
	nettest.NeedRoot(t)
	w := newWay(t)
	w.forward(t, "1")
	r := w.record(t, Limits{Port: port}, func() { w.ask(t, 1<<20) })
	lost, unknown := r.MarkLost(w.plan.Pairs)
	if len(lost)+len(unknown) != 0 {
		t.Errorf("of a path that is whole: lost %v, unknown %v", lost, unknown)
	}
	at := make([]int, 3)
	for _, f := range r.Frames {
		at[f.Point]++
	}
	if at[0] < 10 || at[1] < 10 || at[2] < 10 {
		t.Errorf("frames at the points: %v", at)
	}

	w.forward(t, "0")
	r = w.record(t, Limits{Port: port}, func() { w.ask(t, 1) })
	lost, unknown = r.MarkLost(w.plan.Pairs)
	if len(unknown) != 0 || len(lost) != 1 || lost[0].After != "eth0" || lost[0].Before != "tap0" || lost[0].Count < 1 || lost[0].Count != lost[0].Of {
		t.Errorf("of a kernel that does not pass on: lost %+v, unknown %v", lost, unknown)
	}
	file := filepath.Join(t.TempDir(), "a.pcapng")
	var out bytes.Buffer
	must(t, r.WritePcapng(&out, "test"))
	must(t, os.WriteFile(file, out.Bytes(), 0o600))
	names, frames, comments := read(t, out.Bytes())
	if frames != len(r.Frames) || strings.Join(names, ",") != w.plan.Points[0].Name+",proxy>relay eth0,relay>guest tap0" || len(comments) != lost[0].Count || comments[0] != "lost: it did not come to tap0, the next point" {
		t.Errorf("the file has %v, %d frames, %v", names, frames, comments)
	}
	readByTshark(t, file, lost[0].Count)
}

// readByTshark has the field's own tool read the file, where the machine has it.
func readByTshark(t *testing.T, file string, lost int) {
	t.Helper()
	if _, err := exec.LookPath("tshark"); err != nil {
		nettest.Unfit(t, "no tshark: scripts/deps test installs it")
	}
	out, err := exec.CommandContext(t.Context(), "tshark", "-r", file, "-Y", "frame.comment", "-T", "fields", "-e", "frame.interface_name", "-e", "tcp.dstport", "-e", "frame.comment").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := strings.Count(string(out), fmt.Sprintf("proxy>relay eth0\t%d\tlost: it did not come to tap0, the next point", port)); n != lost {
		t.Errorf("tshark shows %d lost frames, want %d:\n%s", n, lost, out)
	}
}

// TestCaptureIsBounded holds that a flood ends at the limit of bytes, and that nothing is
// said then about losses.
func TestCaptureIsBounded(t *testing.T) {
	nettest.NeedRoot(t)
	w := newWay(t)
	w.forward(t, "1")
	r := w.record(t, Limits{Bytes: 1 << 20}, func() { w.ask(t, 8<<20) })
	size := 0
	for _, f := range r.Frames {
		size += len(f.Data)
	}
	lost, unknown := r.MarkLost(w.plan.Pairs)
	if !r.Full || size > 1<<20 || len(lost) != 0 || len(unknown) != 2 {
		t.Errorf("full %v, %d bytes, lost %v, unknown %v", r.Full, size, lost, unknown)
	}
	if _, err := Record(t.Context(), []Point{{Device: "none"}}, Limits{For: time.Second}); err == nil {
		t.Error("there is no such device")
	}
}

// read reads a pcapng file: names of interfaces, how many frames, comments.
func read(t *testing.T, b []byte) (names []string, frames int, comments []string) {
	t.Helper()
	e := binary.LittleEndian
	for len(b) > 0 {
		kind, length := e.Uint32(b), int(e.Uint32(b[4:]))
		if length%4 != 0 || length > len(b) || int(e.Uint32(b[length-4:])) != length {
			t.Fatalf("a block of %d bytes, %d are left", length, len(b))
		}
		body := b[8 : length-4]
		b = b[length:]
		switch kind {
		case blockInterface:
			names = append(names, options(body[8:])[optName])
		case blockFrame:
			frames++
			data := (int(e.Uint32(body[12:])) + 3) &^ 3
			if c := options(body[20+data:])[optComment]; c != "" {
				comments = append(comments, c)
			}
		}
	}
	return names, frames, comments
}

func options(b []byte) map[uint16]string {
	all := map[uint16]string{}
	for len(b) >= 4 {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == 0 {
			break
		}
		all[code] = string(b[4 : 4+n])
		b = b[4+(n+3)&^3:]
	}
	return all
}

func up(name, addr string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x45\x00\x00\x14"), true)
	f.Add([]byte("\x60\x00"), false)
	f.Fuzz(func(_ *testing.T, b []byte, ethernet bool) { parse(b, ethernet) })
}
