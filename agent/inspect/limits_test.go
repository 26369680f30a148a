package inspect

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/nettest"
	"tapwatch/internal/nlsafe"
)

func TestFreePorts(t *testing.T) {
	for _, c := range []struct {
		first, last int
		reserved    string
		want        int
	}{
		{32768, 60999, "\n", 28232},
		{40000, 40003, "", 4},
		{40000, 40003, "40001\n", 3},
		{40000, 40003, "8080,40002-41000\n", 2},
		{40000, 40003, "1-65535", 0},
		{40000, 40003, "1-100", 4},
	} {
		if got := freePorts(c.first, c.last, c.reserved); got != c.want {
			t.Errorf("%d-%d less %q: %d, want %d", c.first, c.last, c.reserved, got, c.want)
		}
	}
}

func TestParseSockstat(t *testing.T) {
	inuse, tw, pages, err := parseSockstat("sockets: used 150\nTCP: inuse 14 orphan 1 tw 3 alloc 16 mem 2\nUDP: inuse 4 mem 0\n")
	if inuse != 14 || tw != 3 || pages != 2 || err != nil {
		t.Errorf("got %d, %d, %d, %v", inuse, tw, pages, err)
	}
	for _, bad := range []string{"", "UDP: inuse 4 mem 0\n", "TCP: inuse x\n"} {
		if _, _, _, err := parseSockstat(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestParseConntrackDrops(t *testing.T) {
	const head = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error\n"
	n, err := parseConntrackDrops(head + "00000002 00000000 0 0 0 0 0 0 0 00000001 0000001f 00000009 0\n00000002 00000000 0 0 0 0 0 0 0 00000001 00000001 00000009 0\n")
	if n != 32 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := parseConntrackDrops("entries found\n1 2\n"); err == nil {
		t.Error("drops that are not told were read")
	}
}

func TestParseListenOverflows(t *testing.T) {
	n, err := parseListenOverflows("TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 17 18\nIpExt: InNoRoutes\nIpExt: 3\n")
	if n != 17 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := parseListenOverflows("IpExt: InNoRoutes\nIpExt: 3\n"); err == nil {
		t.Error("overflows that are not told were read")
	}
}

// netemOptions are what the kernel has of: netem delay 200ms loss 30% limit 1000 rate
// 8kbit.
func netemOptions() []byte {
	b := make([]byte, sizeofNetem)
	binary.NativeEndian.PutUint32(b, 3_125_000) // ticks of 64 ns
	binary.NativeEndian.PutUint32(b[4:], 1000)
	binary.NativeEndian.PutUint32(b[8:], 1288490188)
	b = nlsafe.AppendAttr(b, netemLatency64, binary.NativeEndian.AppendUint64(nil, 200_000_000))
	return nlsafe.AppendAttr(b, netemRate, append(binary.NativeEndian.AppendUint32(nil, 1000), make([]byte, 12)...))
}

func TestParseQdisc(t *testing.T) {
	model := make([]byte, 16) // 10% into the bad state, 90% out of it; there all is lost
	binary.NativeEndian.PutUint32(model, 429496729)
	binary.NativeEndian.PutUint32(model[4:], 3865470566)
	for _, c := range []struct {
		kind    string
		options []byte
		want    path.Qdisc
	}{
		{"netem", netemOptions(), path.Qdisc{Rate: 1000, Delay: 200 * time.Millisecond, Loss: 0.3, Limit: 1000}},
		{"netem", nlsafe.AppendAttr(make([]byte, sizeofNetem), netemLoss, nlsafe.AppendAttr(nil, 2, model)), path.Qdisc{Loss: 0.1}},
		{"pfifo", []byte{1, 0, 0, 0}, path.Qdisc{Limit: 1}},
		{"fq", nlsafe.AppendUint32(nlsafe.AppendUint32(nil, fqLimit, 10_000), fqMaxRate, 1<<32-1), path.Qdisc{Limit: 10_000}},
		{"fq", nlsafe.AppendUint32(nil, fqMaxRate, 1000), path.Qdisc{Rate: 1000}},
		{"fq_codel", nlsafe.AppendUint32(nil, fqCodelLimit, 10_240), path.Qdisc{Limit: 10_240}},
		{"blackhole", nil, path.Qdisc{Loss: 1}},
		{"htb", []byte{1, 2, 3}, path.Qdisc{}},
	} {
		attrs := nlsafe.AppendAttr(nlsafe.AppendAttr(nil, tcaKind, append([]byte(c.kind), 0)), tcaOptions, c.options)
		got, err := parseQdisc(attrs)
		got.Loss = float64(int(got.Loss*1000+0.5)) / 1000
		c.want.Kind = c.kind
		if err != nil || got != c.want {
			t.Errorf("got %+v, %v, want %+v", got, err, c.want)
		}
	}
	if _, err := parseQdisc(nlsafe.AppendAttr(nlsafe.AppendAttr(nil, tcaKind, []byte("netem\x00")), tcaOptions, []byte{1})); err == nil {
		t.Error("half a netem was read")
	}
}

// Every port of the range is connected to the guest's, and the next dial fails.
func TestPortsTo(t *testing.T) {
	t.Parallel()
	_, ns, _ := slotLike(t)
	sysctl(t, ns, "ipv4/ip_local_port_range", "40000 40003")
	to := netip.MustParseAddrPort("10.12.0.3:49983")
	var l net.Listener
	nettest.In(t, ns, func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp4", to.String())
		return err
	})
	t.Cleanup(func() { l.Close() })
	calm := false
	ask := func() (p *path.Ports) {
		t.Helper()
		nettest.In(t, ns, func() (err error) { p, err = portsTo(to, calm); return err })
		return p
	}
	if p := ask(); p != nil {
		t.Errorf("nobody dials: %+v", p)
	}
	for range 4 {
		var c net.Conn
		nettest.In(t, ns, func() (err error) { c, err = net.Dial("tcp4", to.String()); return err })
		t.Cleanup(func() { c.Close() })
	}
	if p := ask(); p == nil || *p != (path.Ports{Most: 4, Used: 4}) {
		t.Errorf("all are taken: %+v", p)
	}
	nettest.In(t, ns, func() error {
		if _, err := net.Dial("tcp4", to.String()); err == nil || !strings.Contains(err.Error(), "cannot assign requested address") {
			t.Errorf("a fifth connection: %v", err)
		}
		return nil
	})
	calm = true
	if p := ask(); p != nil {
		t.Errorf("nothing is wrong, and few sockets are there: %+v", p)
	}
}

// What a guest sends to another hardware address than the tap's is counted.
func TestOtherHost(t *testing.T) {
	t.Parallel()
	nettest.NeedRoot(t)
	ns := nettest.Netns(t)
	p := Plan{Tap: "tap0", Guest: netip.MustParseAddr("169.254.0.21"), Port: 49983, Fused: true}
	guest := nettest.Guest(t, ns, "tap0", "02:fc:00:00:00:05", p.Guest.AsSlice(), net.IPv4(169, 254, 0, 22))
	nettest.In(t, ns, func() error { address(t, "tap0", "169.254.0.22/30"); return nil })
	nettest.SetUp(t, ns, "tap0", true)
	count := func() uint64 {
		t.Helper()
		n := Inside(ns, p).Inside.OtherHost
		if n == nil {
			nettest.Unfit(t, "this kernel does not count packets for other hosts (before 5.19)")
		}
		return n.Count
	}
	send := func() {
		t.Helper()
		nettest.In(t, guest, func() error {
			c, err := net.Dial("udp4", "169.254.0.22:9")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("x"))
			return err
		})
	}
	before := count()
	ip(t, guest, "neigh", "replace", "169.254.0.22", "lladdr", "02:00:00:00:00:98", "dev", "eth0", "nud", "permanent")
	nettest.Eventually(t, "counted", func() bool { send(); return count() > before })
}

// The limits are those of the initial namespace, which the test may not be in.
func TestTCPMemory(t *testing.T) {
	m, err := tcpMemory()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/sys/net/ipv4/tcp_mem"); (err == nil) != (m != nil) {
		t.Errorf("got %+v, and tcp_mem: %v", m, err)
	}
	if m != nil && (m.Pressure == 0 || m.Max <= m.Pressure) {
		t.Errorf("got %+v", m)
	}
}
