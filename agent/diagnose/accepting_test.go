package diagnose

import (
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

func proxy(f *path.Facts) *path.Listener { return &f.Proxy }
func relay(f *path.Facts) *path.Listener { return &f.Relay }

// filled is a queue that has been full for so long.
func filled(of func(*path.Facts) *path.Listener, seconds float64) func(*path.Facts) {
	return func(f *path.Facts) { of(f).Queue = path.Queue{Waiting: 6, Max: 5, FullSince: secondsAgo(seconds)} }
}

func opened(of func(*path.Facts) *path.Listener, files uint64) func(*path.Facts) {
	return func(f *path.Facts) { of(f).Process.Files = files }
}

func halted(of func(*path.Facts) *path.Listener) func(*path.Facts) {
	return func(f *path.Facts) { of(f).Process.Stopped = path.Yes }
}

func overflown(n uint64, seconds float64) func(*path.Facts) {
	return func(f *path.Facts) { f.Inside.Overflows = &path.Counted{Count: n, Last: secondsAgo(seconds)} }
}

func proxyElsewhere(f *path.Facts) { f.Proxy.Listening, f.Proxy.Actual = path.No, "[::1]:49983" }

func TestNotAccepting(t *testing.T) {
	tryCheck(t, relayNotAccepting, []look{
		{"not full", healthy(), "beside", nil},
		{"for a moment", changed(filled(relay, 0.5)), "beside", nil},
		{"for long", changed(filled(relay, 8)), "problem", []string{"the relay, socat (pid 4300), does not accept", "6 connections wait to be accepted at 10.12.0.15:49983 in ns-7; the queue takes 5, and has been full for 8s", "runs, with 8 files open; its limit is 1024"}},
		{"stopped, and nobody has come since", changed(halted(relay)), "problem", []string{"is stopped"}},
		{"stopped", changed(filled(relay, 8), halted(relay)), "problem", []string{"is stopped (SIGSTOP, or a debugger)", "kill -CONT 4300"}},
		{"of a process that is unknown", changed(filled(relay, 8), func(f *path.Facts) { f.Relay.Process = path.Process{} }), "problem", []string{"whose process is unknown"}},
		{"for want of files", changed(filled(relay, 8), opened(relay, 1024)), "suppressed", []string{"relay-fd-limit"}},
		{"it was full for a moment, again and again", changed(overflown(17, 4)), "problem", []string{"accepts too slowly for bursts", "17 connections found an accept queue of ns-7 full, the last 4s ago"}},
		{"long ago", changed(overflown(17, 11)), "beside", nil},
		{"before the agent looked", changed(func(f *path.Facts) { f.Inside.Overflows = &path.Counted{Count: 17} }), "beside", nil},
		{"of a dnat path", changed(filled(relay, 8), shape(registry.DNAT)), "beside", nil},
	})
	tryCheck(t, proxyNotAccepting, []look{
		{"for long", changed(filled(proxy, 8)), "problem", []string{"the proxy, tapwatch (pid 900), does not accept", "on the host"}},
		{"for want of files", changed(filled(proxy, 8), opened(proxy, 4096)), "suppressed", []string{"proxy-fd-limit"}},
	})
}

func TestFDLimit(t *testing.T) {
	tryCheck(t, relayFDLimit, []look{
		{"some left", changed(opened(relay, 900)), "beside", nil},
		{"few left", changed(opened(relay, 980)), "problem", []string{"has nearly no file descriptor left", "socat (pid 4300) has 980 files open; its limit is 1024"}},
		{"none left", changed(opened(relay, 1024)), "problem", []string{"with 1024 of 1024 in use: it cannot accept or dial another connection", "prlimit --pid 4300"}},
		{"not known", changed(func(f *path.Facts) { f.Relay.Process = path.Process{PID: 4300} }), "beside", nil},
		{"of a process that is unlimited", changed(opened(relay, 1<<20), func(f *path.Facts) { f.Relay.Process.MaxFiles = 0 }), "beside", nil},
		{"nobody listens", changed(opened(relay, 1024), relayGone), "beside", nil},
	})
	tryCheck(t, proxyFDLimit, []look{{"none left", changed(opened(proxy, 4096)), "problem", []string{"the proxy, tapwatch (pid 900), has no file descriptor left"}}})
	if d := Run(changed(opened(relay, 980), opened(proxy, 4000))); d.State != path.OK || len(d.Findings) != 2 {
		t.Errorf("few left: %s", summary(d))
	}
}

func TestProxyWrongAddress(t *testing.T) {
	tryCheck(t, proxyWrongAddress, []look{
		{"right", healthy(), "beside", nil},
		{"nobody", changed(proxyGone), "beside", nil},
		{"another", changed(proxyElsewhere), "problem", []string{"listens on [::1]:49983, but clients connect to 127.0.0.1:49983"}},
		{"another, and nobody expects one", changed(proxyElsewhere, func(f *path.Facts) { f.Proxy.Expected = false }), "beside", nil},
	})
	tryCheck(t, proxyNotListening, []look{{"another", changed(proxyElsewhere), "suppressed", []string{"proxy-wrong-address"}}})
}
