package up

import (
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapwatch/internal/nettest"
)

// hopTimes is the count and sum of each hop of one sandbox.
type hopTimes struct {
	count map[string]int
	sum   map[string]time.Duration
}

// TestHopsOfAVM has the requests to real VMs timed, in each shape of the path: every
// one is counted in every hop, together the hops are no more than the client waited, and
// a guest that stood still is seen at the tap.
func TestHopsOfAVM(t *testing.T) {
	h := start(t, "--hops-per-sandbox", "64")
	api := h.WaitFor(t, 0, `^api: (\S+)`).Groups[1]
	for shape, hops := range map[string][]string{
		"relay": {"proxy", "relay", "tap", "envd"},
		"fused": {"proxy", "tap", "envd"},
		"dnat":  {"proxy", "relay", "tap", "envd"},
	} {
		t.Run(shape, func(t *testing.T) {
			t.Parallel()
			name := nettest.RandomName("h")
			if out, err := exec.Command(h.bin, "sandbox", "create", "--api-url", api, "--name", name, "--path", shape).CombinedOutput(); err != nil {
				t.Fatalf("sandbox create: %v\n%s", err, out)
			}
			s := h.named(t, name)
			nettest.Eventually(t, "its hops are watched", func() bool {
				h.ask(t, s.Sandbox.ID)
				return h.hopsOf(t, s.Sandbox.ID).count["envd"] > 0
			})
			c := h.client(s.Sandbox.ID)
			h.sumUp(t, s.Sandbox.ID, hops, 50, func() (waited time.Duration) {
				for range 50 {
					waited += c(t)
				}
				return waited
			})
			now := h.sumUp(t, s.Sandbox.ID, hops, 1, func() time.Duration {
				if err := syscall.Kill(s.Sandbox.VMMPID, syscall.SIGSTOP); err != nil {
					t.Fatal(err)
				}
				goesOn := make(chan error, 1)
				time.AfterFunc(stillFor, func() { goesOn <- syscall.Kill(s.Sandbox.VMMPID, syscall.SIGCONT) })
				waited := c(t)
				if err := <-goesOn; err != nil {
					t.Fatal(err)
				}
				return waited
			})
			if tap := now.sum["tap"]; tap < stillFor*9/10 {
				t.Errorf("the guest stood still for %v, of which the tap has %v, envd %v", stillFor, tap, now.sum["envd"])
			}
		})
	}
}

// stillFor is less than what TCP takes for a loss: a request that is sent again is
// left out of what the tap and envd took.
const stillFor = 120 * time.Millisecond

// client asks envd for its health, each time on the same connection, and returns how
// long that took.
func (h *host) client(id string) func(*testing.T) time.Duration {
	transport := &http.Transport{MaxConnsPerHost: 1}
	return func(t *testing.T) time.Duration {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.WaitFor(t, 0, `^proxy: (\S+)`).Groups[1]+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("E2b-Sandbox-Id", id)
		began := time.Now()
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		_, _ = io.Copy(io.Discard, resp.Body) // empty
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Fatalf("status %d", resp.StatusCode)
		}
		return took
	}
}

func (h *host) ask(t *testing.T, id string) { h.client(id)(t) }

// sumUp holds what was measured of n requests to what their client saw. Where any was
// sent again, which says nothing of the guest, they are made anew: a slow machine's
// guest may take longer than TCP waits.
func (h *host) sumUp(t *testing.T, id string, hops []string, n int, request func() (waited time.Duration)) (now hopTimes) {
	t.Helper()
	for range 5 {
		resent, before := h.scrape(t, unsplit), h.hopsOf(t, id)
		waited := request()
		now = h.hopsOf(t, id)
		for hop := range now.count {
			now.count[hop] -= before.count[hop]
			now.sum[hop] -= before.sum[hop]
		}
		if now.count["tap"] != n && h.scrape(t, unsplit) != resent {
			continue
		}
		var sum time.Duration
		for _, hop := range hops {
			if sum += now.sum[hop]; now.count[hop] != n {
				t.Errorf("%d of %d requests are counted in %s", now.count[hop], n, hop)
			}
		}
		if sum > waited { // it may be less: the client waits for a CPU too
			t.Errorf("the client waited %v for %d requests, the hops are %v: %v", waited, n, sum, now.sum)
		}
		t.Logf("%d requests, %v: %v", n, waited, now.sum)
		return now
	}
	t.Fatal("some request was sent again each time")
	return now
}

// unsplit counts the requests that say nothing of the guest.
const unsplit = "tapwatch_flow_unsplit_total "

var ownHop = regexp.MustCompile(`^tapwatch_sandbox_hop_latency_seconds_(count|sum)\{(.*)\} (\S+)$`)

func (h *host) hopsOf(t *testing.T, id string) hopTimes {
	t.Helper()
	of := hopTimes{map[string]int{}, map[string]time.Duration{}}
	for line := range strings.Lines(h.page(t)) {
		m := ownHop.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil || !strings.Contains(m[2], `sandbox_id="`+id+`"`) {
			continue
		}
		hop := regexp.MustCompile(`hop="(\w+)"`).FindStringSubmatch(m[2])[1]
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Fatal(err)
		}
		if m[1] == "count" {
			of.count[hop] = int(v)
		} else {
			of.sum[hop] = time.Duration(v * float64(time.Second))
		}
	}
	return of
}
