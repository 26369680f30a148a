package drill

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tapwatch/agent/path"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/template"
)

// Healthy is what was seen of healthy sandboxes under load: a finding is a false
// alarm, unless requests failed too.
type Healthy struct {
	Sandboxes int     `json:"sandboxes"`
	Seconds   float64 `json:"seconds"` // under load
	Requests  int64   `json:"requests"`
	Commands  int64   `json:"commands"` // run in the guests, with 64 KiB of output each
	Failed    int64   `json:"failed"`   // of both
	Looks     int     `json:"looks"`    // at what the agent says of all of them
	NotOK     int     `json:"not_ok"`   // sandboxes seen in another state than ok, over all looks
	// Findings is each cause that was named, once for a sandbox and code.
	Findings []string `json:"findings"`
}

const (
	// booting at a time: more would only share the CPUs.
	booting = 2
	// commandEvery is the pause between two commands in a guest.
	commandEvery = 5 * time.Second
	// commandTime bounds one command: emulated guests share the CPUs.
	commandTime = 30 * time.Second
	// commandBytes is how much a command prints.
	commandBytes = 64 << 10
	// healthLook is the pause between two looks.
	healthLook = 100 * time.Millisecond
)

// Calm launches n healthy sandboxes and has requests and commands go to all of
// them for that long, while it looks what the agent finds.
func (w *World) Calm(ctx context.Context, n int, period time.Duration) (h Healthy, err error) {
	boxes, err := w.launchAll(ctx, n)
	defer func() {
		for _, b := range boxes {
			err = joinNotNil(err, w.kill(b))
		}
	}()
	if err != nil {
		return h, err
	}
	for _, b := range boxes {
		if err := w.awaitOK(ctx, b); err != nil {
			return h, fmt.Errorf("sandbox %s: %w", b.ID, err)
		}
	}
	w.Step(fmt.Sprintf("%d healthy sandboxes, requests and commands to all of them for %v", n, period))
	loading, stop := context.WithTimeout(ctx, period)
	defer stop()
	var l load
	start := time.Now()
	for _, b := range boxes {
		l.all.Go(func() { l.requests(loading, b.client()) })
		l.all.Go(func() { l.commands(loading, b.client()) })
	}
	h = Healthy{Sandboxes: n, Findings: []string{}}
	err = w.look(loading, boxes, &h)
	l.all.Wait()
	h.Seconds = time.Since(start).Seconds()
	h.Requests, h.Commands, h.Failed = l.asked.Load(), l.ran.Load(), l.failed.Load()
	return h, joinNotNil(err, ctx.Err())
}

func (w *World) launchAll(ctx context.Context, n int) (boxes []*Box, err error) {
	w.Step(fmt.Sprintf("launching %d sandboxes", n))
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(booting)
	for i := range n {
		g.Go(func() error {
			s, err := w.Manager.Create(ctx, sandbox.CreateRequest{Template: template.Default.Alias(), Name: "healthy-" + strconv.Itoa(i), Timeout: lifetime})
			if err != nil {
				return fmt.Errorf("launch a healthy sandbox: %w", err)
			}
			mu.Lock()
			defer mu.Unlock()
			boxes = append(boxes, &Box{World: w, Sandbox: s, stop: func() {}})
			return w.first(ctx, boxes[len(boxes)-1])
		})
	}
	err = g.Wait()
	return boxes, err
}

// first sends the request without which nothing is known of a path.
func (w *World) first(ctx context.Context, b *Box) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	return b.client().Health(ctx)
}

// look notes every finding until the context ends.
func (w *World) look(ctx context.Context, boxes []*Box, h *Healthy) error {
	ours, seen := map[string]bool{}, map[string]bool{}
	for _, b := range boxes {
		ours[b.ID] = true
	}
	for ctx.Err() == nil {
		slots, err := w.Slots(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		h.Looks++
		for _, s := range slots {
			if s.Sandbox == nil || !ours[s.Sandbox.ID] || s.Diagnosis.State == path.OK {
				continue
			}
			h.NotOK++
			for _, f := range s.Diagnosis.Findings {
				if text := s.Sandbox.ID + " " + f.Code; !seen[text] {
					seen[text] = true
					h.Findings = append(h.Findings, text+": "+f.Cause+" ("+strings.Join(f.Evidence, "; ")+")")
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(healthLook):
		}
	}
	return nil
}

// load is the traffic of all sandboxes.
type load struct {
	all                sync.WaitGroup
	asked, ran, failed atomic.Int64
}

func (l *load) count(ctx context.Context, n *atomic.Int64, err error) {
	if ctx.Err() != nil { // cut off by the end
		return
	}
	n.Add(1)
	if err != nil {
		l.failed.Add(1)
	}
}

func (l *load) requests(ctx context.Context, c *envd.Client) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, commandTime)
		err := c.Health(one)
		cancel()
		l.count(ctx, &l.asked, err)
		pause(ctx, askEvery)
	}
}

func (l *load) commands(ctx context.Context, c *envd.Client) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, commandTime)
		var out bytes.Buffer
		_, err := c.Exec(one, envd.ExecRequest{Cmd: "head", Args: []string{"-c", strconv.Itoa(commandBytes), "/dev/zero"}}, &out, io.Discard)
		cancel()
		if err == nil && out.Len() != commandBytes {
			err = errors.New("its output was cut short")
		}
		l.count(ctx, &l.ran, err)
		pause(ctx, commandEvery)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Line writes what was seen, for people.
func (h Healthy) Line(out io.Writer) {
	fmt.Fprintf(out, "%d healthy sandboxes for %.0f s: %d requests and %d commands, %d failed; %d findings; not ok %d times in %d looks at all\n",
		h.Sandboxes, h.Seconds, h.Requests, h.Commands, h.Failed, len(h.Findings), h.NotOK, h.Looks)
	for _, f := range h.Findings {
		fmt.Fprintln(out, "  "+f)
	}
}
