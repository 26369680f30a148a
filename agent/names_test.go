package agent

import (
	"math/rand/v2"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"tapwatch/agent/path"
	"tapwatch/internal/netns"
	"tapwatch/internal/nettest"
)

// A namespace that loses its name goes by that name still, and one that never had any
// by its number.
func TestNamespaceThatLosesItsName(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	vmm := playE2B(t, ns, "inameless", "tap0")
	before := w.sandbox(ns, "tap0", "inameless", vmm)
	if err := netns.Delete(ns); err != nil {
		t.Fatal(err)
	}
	nettest.Eventually(t, "the name lost", func() bool {
		e, ok := w.agent.discover.Get(before.Cookie)
		return ok && e.Name == ""
	})
	s := w.looked(w.sandbox(ns, "tap0", "inameless", vmm))
	if s.Cookie != before.Cookie || len(wrong(s)) > 0 {
		t.Errorf("%+v, wrong: %q", s.Sandbox, wrong(s))
	}
	w.carrierSeries(s)
}

// What strangers write reaches nobody's terminal: an id of unsafe characters is none, a
// stranger without a tap is nobody, and two of one id are told apart.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns, evil := e2bSlot(t), "fc-\x1b[31mevil\u202e\n-r4nd.sock"
	nobody := play(t, standIn{program: "firecracker", args: []string{"--api-sock", filepath.Join("/nowhere", evil)}, ns: ns, uid: 65534, mute: true})
	w.agent.discover.Rescan()
	vmm := play(t, standIn{program: "fc\x1b[31m\u202ex", args: []string{"--socket", evil}, ns: ns, taps: []string{"tap0"}})
	s := w.untilTap(ns, "tap0", "held by a stranger", func(s path.Slot) bool { return s.Diagnosis.State == path.Unidentified && len(s.Device.Holders) == 1 })
	if s.Unidentified.PID != vmm.pid() || len(w.places(ns)) != 1 {
		t.Errorf("%d places, held by %+v", len(w.places(ns)), s.Unidentified)
	}
	for _, text := range []string{s.Unidentified.Command, s.Device.Holders[0].Command, grep(w.metrics(), ns)} {
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%q is raw", text)
		}
	}
	if slices.ContainsFunc(w.agent.Slots(), func(s path.Slot) bool { return s.Sandbox != nil && s.Sandbox.VMMPID == nobody.pid() }) {
		t.Error("a process of another user that holds nothing is a VMM")
	}

	sandbox := nettest.RandomName("itwice")
	for range 2 {
		at := e2bSlot(t)
		play(t, standIn{program: "firecracker", args: []string{"--id", sandbox}, ns: at, taps: []string{"tap0"}})
		w.untilTap(at, "tap0", "its sandbox", func(s path.Slot) bool { return strings.HasPrefix(id(s), sandbox) })
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.client.BaseURL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Content-Type"), "protobuf") {
		t.Errorf("a scrape of protobuf: %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
}

// Where no proxy was named or ever seen, nothing is broken at it.
func TestProxyThatNobodyNamed(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	vmm := playE2B(t, ns, "inoproxy", "tap0")
	w.looked(w.sandbox(ns, "tap0", "inoproxy", vmm))
	s := w.untilTap(ns, "tap0", "the host's listeners read", func(s path.Slot) bool { return s.Proxy.Listening != path.Unknown })
	if s.Proxy.Listening == path.Yes { // somebody's does, on this machine
		return
	}
	for _, h := range s.Diagnosis.Hops {
		if h.Hop == path.Proxy && (h.State != path.Undecided || !strings.Contains(h.Detail, "--proxy")) {
			t.Errorf("%+v", h)
		}
	}
	if finds(s, "proxy-not-listening") || finds(s, "proxy-wrong-address") {
		t.Errorf("found %+v", s.Diagnosis.Findings)
	}
}

// Another network than E2B's default, with a relay in the namespace: the kernel says
// where it is.
func TestAddressesFromTheKernel(t *testing.T) {
	t.Parallel()
	w := watch(t)
	ns := e2bSlot(t)
	near := netip.AddrFrom4([4]byte{198, 19, byte(rand.N(256)), byte(rand.N(128) * 2)})
	far := netip.AddrPortFrom(near.Next(), 49983)
	addAddr(t, "", nettest.Veth(t, ns), near, 31)
	addAddr(t, ns, "eth0", far.Addr(), 31)
	nettest.In(t, ns, func() error { return netlink.RouteAdd(&netlink.Route{Gw: near.AsSlice()}) })
	listenIn(t, ns, far)
	vmm := playE2B(t, ns, "icidr", "tap0")
	s := w.looked(w.sandbox(ns, "tap0", "icidr", vmm))
	if of := wrong(s); len(of) > 0 {
		t.Errorf("wrong: %q", of)
	}
	s = w.untilTap(ns, "tap0", "its relay", func(s path.Slot) bool { return s.Relay.Listening == path.Yes })
	if s.Relay.Addr != far.String() || s.Assumed || len(wrong(s)) > 0 {
		t.Errorf("relay at %s, assumed %t, wrong: %q", s.Relay.Addr, s.Assumed, wrong(s))
	}
}
