package agent

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"tapwatch/agent/path"
	"tapwatch/agent/slots"
	"tapwatch/internal/e2b"
	"tapwatch/internal/nettest"
	"tapwatch/internal/registry"
)

// line is the path to a guest that needs no VM: the proxy in the test's namespace, a
// relay in the slot's, and an envd in the guest's.
type line struct {
	*host
	front netip.AddrPort
	guest string       // its namespace
	hangs atomic.Bool  // envd does, while it is set
	waits atomic.Int32 // requests that it has let hang
	asked atomic.Int32 // all that came to it
}

func startLine(t *testing.T, cfg Config) *line {
	t.Helper()
	nettest.NeedRoot(t)
	front, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	l := &line{front: front.Addr().(*net.TCPAddr).AddrPort()}
	cfg.Proxy = l.front
	l.host = startWith(t, cfg)
	l.relay.Close()
	ns, tap, envd := l.slot.Netns, netip.MustParseAddr("169.254.0.22"), netip.MustParseAddrPort("169.254.0.21:49983")
	near := netip.AddrFrom4([4]byte{198, 19, byte(rand.N(256)), byte(rand.N(128) * 2)})
	far := netip.AddrPortFrom(near.Next(), e2b.EnvdPort)
	l.slot.HostVeth = nettest.Veth(t, ns)
	addAddr(t, "", l.slot.HostVeth, near, 31)
	addAddr(t, ns, "eth0", far.Addr(), 31)
	nettest.In(t, ns, func() error { return netlink.RouteAdd(&netlink.Route{Gw: near.AsSlice()}) })
	addAddr(t, ns, "tap0", tap, 30)
	l.guest = nettest.Guest(t, ns, "tap0", "02:FC:00:00:00:05", envd.Addr().AsSlice(), tap.AsSlice())
	l.serve(listenIn(t, l.guest, envd))
	forward(listenIn(t, ns, far), func() (c net.Conn, err error) {
		nettest.In(t, ns, func() error { c, err = net.Dial("tcp4", envd.String()); return nil })
		return c, err
	})
	forward(front, func() (net.Conn, error) { return net.Dial("tcp4", far.String()) })
	l.slot.VpeerIP = far.Addr().String()
	l.bind(registry.Running)
	return l
}

// serve is envd, as far as its health goes. One that hangs lets go of its clients
// when they have gone.
func (l *line) serve(in net.Listener) {
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get(e2b.HeaderSandboxID); id != "" && id != "itest" {
			return // the agent asks for the other sandboxes of this host too
		}
		l.asked.Add(1)
		if l.hangs.Load() {
			l.waits.Add(1)
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = srv.Serve(in) }()
	l.t.Cleanup(func() { srv.Close() })
}

func listenIn(t *testing.T, ns string, at netip.AddrPort) (in net.Listener) {
	t.Helper()
	nettest.In(t, ns, func() (err error) {
		in, err = net.Listen("tcp4", at.String())
		return err
	})
	t.Cleanup(func() { in.Close() })
	return in
}

func forward(in net.Listener, dial func() (net.Conn, error)) {
	go func() {
		for {
			front, err := in.Accept()
			if err != nil {
				return
			}
			go func() {
				defer front.Close()
				back, err := dial()
				if err != nil {
					return
				}
				defer back.Close()
				ended := make(chan struct{}, 2)
				one := func(to, from net.Conn) { _, _ = io.Copy(to, from); ended <- struct{}{} }
				go one(back, front)
				go one(front, back)
				<-ended
			}()
		}
	}()
}

func addAddr(t *testing.T, ns, name string, a netip.Addr, bits int) {
	t.Helper()
	add := func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}})
	}
	if ns == "" {
		if err := add(); err != nil {
			t.Fatal(err)
		}
		return
	}
	nettest.In(t, ns, add)
}

// request is a client's, through the whole path.
func (l *line) request(ctx context.Context) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.front.String()+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// hasCounted says where a counter is missing or 0.
func (l *line) hasCounted(series string) {
	l.t.Helper()
	if m := l.metrics(); !strings.Contains(m, series) || strings.Contains(m, series+"0\n") {
		l.t.Errorf("nothing counted in %q", series)
	}
}

// up is the line of a hop in /metrics.
func (l *line) up(hop path.Hop, origin string, up int) string {
	return fmt.Sprintf(`tapwatch_path_seen_up{hop="%s",netns="%s",origin="%s",sandbox_id="itest"} %d`, hop, l.slot.Netns, origin, up)
}

// An idle sandbox is asked by both ways, and that is not taken for traffic. One that
// answers its clients is not asked, and one that lets them wait is again.
func TestIdleSandboxIsAsked(t *testing.T) {
	// Not beside others: this process is their VMM too, and would hold their taps.
	const every = time.Hour // the agent's own rounds ask once
	l := startLine(t, Config{Every: 50 * time.Millisecond, ProbeEvery: every})
	l.until("asked by both ways", func(s path.Slot) bool { return s.Health.Code == 204 && s.Through.Code == 204 })
	l.agent.hops.look()
	for _, hop := range []path.Hop{path.Proxy, path.Relay, path.Tap, path.Envd} {
		l.hasLine(l.up(hop, "probe", 1))
	}
	if n := l.asked.Load(); n != int32(slots.AsProxy) { // the ways before it
		lived, err := l.client.History(t.Context(), "itest")
		t.Errorf("envd was asked %d times; %v, %v", n, lived.Events, err)
	}
	for _, way := range wayNames[:slots.AsProxy] { // the sandboxes of other tests on this host are asked too
		l.hasCounted(`tapwatch_health_probes_total{result="ok",way="` + way + `"} `)
		l.hasCounted(`tapwatch_probe_duration_seconds_count{way="` + way + `"} `)
	}
	if m := grep(l.metrics(), `origin="traffic"`); strings.Contains(m, l.slot.Netns) {
		t.Errorf("the agent's own questions are taken for traffic:\n%s", m)
	}

	quiet := time.Now() // since then there is traffic
	nettest.Eventually(t, "requests are seen at every hop", func() bool {
		if err := l.request(t.Context()); err != nil {
			t.Fatal(err)
		}
		l.agent.hops.look()
		m := l.metrics()
		return strings.Contains(m, l.up(path.Proxy, "traffic", 1)) && strings.Contains(m, l.up(path.Envd, "traffic", 1))
	})
	for _, q := range l.agent.slots.DueQuestions(quiet.Add(every), slots.Due{Idle: quiet}, healthMost) {
		if q.Key.Netns == l.slot.Cookie { // else another's sandbox on this host
			t.Errorf("asked by way %d in spite of its traffic", q.Way)
		}
	}

	l.hangs.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	hung := time.Now()
	go func() { ended <- l.request(ctx) }()
	nettest.Eventually(t, "the request waits", func() bool { return l.waits.Load() == 1 })
	var asking errgroup.Group
	l.agent.health.round(t.Context(), &asking, hung.Add(every-healthTick/2))
	if due := l.agent.slots.DueQuestions(hung.Add(3*every), slots.Due{Idle: hung.Add(2 * every)}, healthMost); len(due) != 0 {
		t.Errorf("%d questions more before the first are answered", len(due))
	}
	_ = asking.Wait() // nobody returns an error
	s := l.until("envd hangs", func(s path.Slot) bool { return finds(s, "envd-hung") })
	if !s.Through.Connected || !s.Through.TimedOut {
		t.Errorf("through the path: %+v", s.Through)
	}
	l.hasLine(l.up(path.Tap, "probe", 1))
	l.hasLine(l.up(path.Envd, "probe", 0))
	if m := l.metrics(); strings.Contains(m, l.up(path.Proxy, "probe", 1)) || strings.Contains(m, l.up(path.Proxy, "probe", 0)) {
		t.Error("something is said of the proxy, though anything in the path may hang")
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("the request was answered")
	}
}
