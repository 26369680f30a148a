package up

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tapwatch/internal/nettest"
	"tapwatch/internal/proctest"
	"tapwatch/internal/sandbox/template/templatetest"
)

const (
	costRounds = 11
	costRound  = 2 * time.Second
	costConns  = 64
)

// BenchmarkAgentCost is what a watching agent, with all its hooks and the timing of
// every hop, costs requests to a real VM through the proxy and the relay: 64
// connections that ask envd for its health, with an agent and without in turn.
func BenchmarkAgentCost(b *testing.B) {
	nettest.NeedRoot(b)
	store := templatetest.Store(b)
	bin := proctest.Build(b, "tapwatch/cmd/tapwatch")
	if err := os.Rename(templatetest.Envd(b), filepath.Join(filepath.Dir(bin), "envd")); err != nil {
		b.Fatal(err)
	}
	run := filepath.Join(b.TempDir(), "run")
	launcher := proctest.Start(b, bin, "serve", "--api-listen", "127.0.0.1:0", "--proxy-listen", "127.0.0.1:0",
		"--run-dir", run, "--data-dir", store.Dir, "--first-slot", strconv.Itoa(firstSlot))
	api := launcher.WaitFor(b, 0, `^api: (\S+)`).Groups[1]
	proxy := launcher.WaitFor(b, 0, `^proxy: (\S+)`).Groups[1]
	if out, err := exec.Command(bin, "sandbox", "create", "--api-url", api, "--name", "cost").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	for b.Loop() {
		var ratios, without, with []float64
		var tookWithout, tookWith []time.Duration
		for range costRounds {
			n, took := askHealth(b, proxy)
			without, tookWithout = append(without, n), append(tookWithout, took...)
			agent := proctest.Start(b, bin, "agent", "--listen", "127.0.0.1:0", "--run-dir", run, "--proxy", strings.TrimPrefix(proxy, "http://"))
			url := agent.WaitFor(b, 0, `^metrics: (http://\S+)$`).Groups[1]
			time.Sleep(3 * time.Second) // it is ready, and the proxy and the relay tell it
			m, took := askHealth(b, proxy)
			with, tookWith = append(with, m), append(tookWith, took...)
			ratios = append(ratios, m/n)
			if !measured(b, url) {
				b.Error("the agent measured no requests")
			}
			agent.Stop(b)
		}
		for name, of := range map[string][]float64{"req/s-without": without, "req/s-with": with, "ratio": ratios} {
			slices.Sort(of)
			b.ReportMetric(of[len(of)/2], name)
		}
		for name, of := range map[string][]time.Duration{"without": tookWithout, "with": tookWith} {
			slices.Sort(of)
			b.ReportMetric(float64(of[len(of)/2].Microseconds())/1000, "p50-ms-"+name)
			b.ReportMetric(float64(of[len(of)*99/100].Microseconds())/1000, "p99-ms-"+name)
		}
	}
}

func measured(b *testing.B, url string) bool {
	b.Helper()
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	return strings.Contains(string(body), `tapwatch_flow_joined_total{hop="proxy",how="told"}`) &&
		!strings.Contains(string(body), `tapwatch_hop_latency_seconds_count{hop="envd"} 0`)
}

// askHealth has new connections ask for a while and returns how many requests a
// second were answered, and what each took.
func askHealth(b *testing.B, proxy string) (perSecond float64, took []time.Duration) {
	b.Helper()
	each := make([][]time.Duration, costConns)
	var wg sync.WaitGroup
	begun := time.Now()
	for i := range each {
		wg.Go(func() {
			t := &http.Transport{MaxConnsPerHost: 1}
			defer t.CloseIdleConnections()
			for time.Since(begun) < costRound {
				start := time.Now()
				req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, proxy+"/health", nil)
				if err != nil {
					b.Error(err)
					return
				}
				resp, err := t.RoundTrip(req)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusNoContent {
					b.Errorf("status %d", resp.StatusCode)
					return
				}
				each[i] = append(each[i], time.Since(start))
			}
		})
	}
	wg.Wait()
	took = slices.Concat(each...)
	return float64(len(took)) / time.Since(begun).Seconds(), took
}
