package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/envd"
)

const (
	// requests that each sandbox gets before its path is drawn.
	requests = 20
	// trafficEvery is the pause between the requests that go on after that.
	trafficEvery = time.Second
	// requestTime bounds one request: a dead guest costs the relay 3 s.
	requestTime = 10 * time.Second
)

// client talks to one sandbox through the proxy, as the E2B SDK does.
func (d *Demo) client(name string) *envd.Client {
	return &envd.Client{BaseURL: d.cfg.ProxyURL, Header: http.Header{e2b.HeaderSandboxID: {d.ids[name]}}}
}

// Traffic sends requests through every path and prints what came back.
func (d *Demo) Traffic(ctx context.Context) error {
	fmt.Fprintln(d.cfg.Out, "traffic through the proxy, by "+e2b.HeaderSandboxID+":")
	lines := make([]string, len(drills))
	var all sync.WaitGroup
	for i, dr := range drills {
		all.Go(func() { lines[i] = d.drive(ctx, dr) })
	}
	all.Wait()
	for _, l := range lines {
		fmt.Fprintln(d.cfg.Out, l)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var out bytes.Buffer
	code, err := d.client("healthy").Exec(ctx, envd.ExecRequest{Cmd: "python3", Args: []string{"-c", "print(6*7)"}}, &out, &out)
	if err != nil || code != 0 || strings.TrimSpace(out.String()) != "42" {
		return fmt.Errorf("python3 in healthy: got %q, exit code %d, %w; want 42", out.String(), code, err)
	}
	fmt.Fprintln(d.cfg.Out, "  healthy     python3 -c 'print(6*7)' in the guest printed 42")
	return nil
}

// drive asks one sandbox for its health and says in a line what came of it. One
// answer of a broken path is enough.
func (d *Demo) drive(ctx context.Context, dr drill) string {
	client := d.client(dr.name)
	var took []time.Duration
	for range requests {
		start := time.Now()
		err := d.ask(ctx, client)
		took = append(took, time.Since(start))
		if err != nil {
			return fmt.Sprintf("  %-11s %s, after %.1f s", dr.name, words(err), took[len(took)-1].Seconds())
		}
	}
	slices.Sort(took)
	return fmt.Sprintf("  %-11s %d of %d requests answered, median %.1f ms", dr.name, requests, requests,
		float64(took[len(took)/2].Microseconds())/1000)
}

func (d *Demo) ask(ctx context.Context, client *envd.Client) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	return client.Health(ctx)
}

// words is the proxy's answer, up to where it begins to explain.
func words(err error) string {
	text := err.Error()
	var status *envd.StatusError
	if errors.As(err, &status) {
		text = status.Error()
	}
	text, _, _ = strings.Cut(text, ";")
	return text
}

// Keep sends a request through every path now and then, so that what the agent
// knows of them stays fresh, until the context ends.
func (d *Demo) Keep(ctx context.Context) {
	var all sync.WaitGroup
	for _, dr := range drills {
		client := d.client(dr.name)
		all.Go(func() {
			for ctx.Err() == nil {
				_ = d.ask(ctx, client) // the agent sees what comes of it
				select {
				case <-ctx.Done():
				case <-time.After(trafficEvery):
				}
			}
		})
	}
	all.Wait()
}
