package flow

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"tapwatch/agent/flow"
	"tapwatch/agent/path"
	"tapwatch/internal/flowtest"
	"tapwatch/internal/proctest"
)

// line is a path whose layers are known.
type line struct {
	host         *flowtest.Host
	slot         *flowtest.Slot
	proxy, relay *proctest.Process
	flow         *flow.Flow
	said         int // lines that a slow proxy said and were read
}

func lineOf(t testing.TB, proxy, relay flowtest.Proxy) *line {
	t.Helper()
	h := flowtest.NewHost(t)
	s := h.Slot(t)
	l := &line{host: h, slot: s, flow: watch(t, h, s)}
	flowtest.Serve(t, s.Guest, flowtest.Envd)
	l.relay = relay.Start(t, s.Netns, s.Vpeer, flowtest.Envd)
	l.proxy = proxy.Start(t, h.Netns, h.Front, s.Vpeer)
	return l
}

// dnatLine is a path without a relay: the slot's kernel passes on.
func dnatLine(t testing.TB, proxy flowtest.Proxy) *line {
	t.Helper()
	h := flowtest.NewHost(t)
	s := h.Slot(t)
	s.DNAT(t)
	l := &line{host: h, slot: s, flow: watch(t, h, s)}
	p := pathOf(t, s)
	p.HostIP = s.HostIP.Addr()
	if err := l.flow.Add(p); err != nil {
		t.Fatal(err)
	}
	flowtest.Serve(t, s.Guest, flowtest.Envd)
	l.proxy = proxy.Start(t, h.Netns, h.Front, s.HostIP)
	return l
}

func proxy(t testing.TB, name string) flowtest.Proxy {
	t.Helper()
	all := flowtest.Proxies()
	i := slices.IndexFunc(all, func(p flowtest.Proxy) bool { return p.Name == name })
	if i < 0 {
		t.Fatal("no proxy " + name)
	}
	return all[i]
}

// request is one way to ask. It returns what delay was put in, for certain.
type request func(*testing.T, *line, *flowtest.Conn) (a flowtest.Answer, put time.Duration)

func plain(t *testing.T, _ *line, c *flowtest.Conn) (flowtest.Answer, time.Duration) {
	t.Helper()
	a, err := c.Ask(flowtest.Request{})
	if err != nil {
		t.Fatal(err)
	}
	return a, 0
}

// slept is a request to a server that sleeps before it answers.
func slept(t *testing.T, _ *line, c *flowtest.Conn) (flowtest.Answer, time.Duration) {
	t.Helper()
	a, err := c.Ask(flowtest.Request{Delay: delay})
	if err != nil {
		t.Fatal(err)
	}
	return a, a.Slept
}

// stopped is a request that is sent while a process on its way does not run.
func stopped(which func(*line) *proctest.Process) request {
	return func(t *testing.T, l *line, c *flowtest.Conn) (flowtest.Answer, time.Duration) {
		t.Helper()
		a, put, err := c.AskFrozen(t, flowtest.Request{}, which(l), delay)
		if err != nil {
			t.Fatal(err)
		}
		return a, put
	}
}

// slowed is a request through a slow proxy.
func slowed(which func(*line) *proctest.Process) request {
	return func(t *testing.T, l *line, c *flowtest.Conn) (flowtest.Answer, time.Duration) {
		t.Helper()
		a, _ := plain(t, l, c)
		said := which(l).WaitFor(t, l.said, `^slept (\d+)$`)
		l.said = said.Line + 1
		ns, err := strconv.Atoi(said.Groups[1])
		if err != nil {
			t.Fatal(err)
		}
		return a, time.Duration(ns)
	}
}

// spent is where the time of a request went.
type spent struct {
	hops   map[path.Hop]time.Duration
	parts  map[string]time.Duration // "proxy wait" and so on
	client flowtest.Answer          // as it saw it
	put    time.Duration            // of it, what was put in
}

func (s spent) inHops() (sum time.Duration) {
	for _, d := range s.hops {
		sum += d
	}
	return sum
}

// ask asks once, while nobody else does, and tells where the time is said to have gone.
func (l *line) ask(t *testing.T, r request, c *flowtest.Conn) spent {
	t.Helper()
	before := read(t, l.flow)
	a, put := r(t, l, c)
	after := read(t, l.flow)
	s := spent{hops: map[path.Hop]time.Duration{}, parts: map[string]time.Duration{}, client: a, put: put}
	for _, hop := range flow.Hops {
		is, was := after.Hops[hop], before.Hops[hop]
		if is.Count != was.Count+1 {
			t.Errorf("%d requests were measured at %s, there was one", is.Count-was.Count, hop)
		}
		s.hops[hop] = is.Sum - was.Sum
	}
	if s.inHops() > a.First { // they are one after another, and all within
		t.Errorf("a request took %s, in hops: %v", a.First, s.hops)
	}
	for _, p := range after.Parts {
		s.parts[string(p.Hop)+" "+p.Part] = p.Sum
	}
	for _, p := range before.Parts {
		s.parts[string(p.Hop)+" "+p.Part] -= p.Sum
	}
	return s
}

func read(t testing.TB, f *flow.Flow) flow.Stats {
	t.Helper()
	s, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	return s
}
