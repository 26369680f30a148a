package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// progress shows on a terminal, in one line, what is being done, how much of it, and how
// long it may still take. Elsewhere it prints what is being done, a line each.
type progress struct {
	w     io.Writer
	width int // of the terminal; 0: it is none

	mu      sync.Mutex
	all     part // of the whole work
	step    part
	text    string // what the step is
	shown   bool
	stopped chan struct{}
	done    sync.WaitGroup
}

// part is how much of something is done.
type part struct {
	done, total int64 // total 0: not known
	bytes       bool
	since       time.Time
}

const redraw = 200 * time.Millisecond

// newProgress begins to show. End it before anything else is printed for good.
func newProgress(w io.Writer) *progress {
	p := &progress{w: w, stopped: make(chan struct{})}
	if os.Getenv("TERM") != "dumb" {
		p.width = screenOf(w).Width
	}
	if p.width > 0 {
		p.done.Go(p.run)
	}
	return p
}

func (p *progress) run() {
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-p.stopped:
			return
		case now := <-tick.C:
			p.mu.Lock()
			if p.text != "" {
				fmt.Fprint(p.w, "\r"+ansi.Truncate(p.line(now), p.width-1, "…")+"\x1b[K")
				p.shown = true
			}
			p.mu.Unlock()
		}
	}
}

// Step says what is being done from now on.
func (p *progress) Step(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.step = text, part{since: time.Now()}
	if p.width == 0 {
		fmt.Fprintln(p.w, text)
	}
}

// Of says how much of the whole work is done: so many of so many.
func (p *progress) Of(done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all.since.IsZero() {
		p.all.since = time.Now()
	}
	p.all.done, p.all.total = int64(done), int64(total)
}

// Bytes says how much of the step is done.
func (p *progress) Bytes(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step.done, p.step.total, p.step.bytes = done, total, true
}

// Over prints something to the same terminal, past the line.
func (p *progress) Over(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fn()
}

// End takes the line away. It may be called twice.
func (p *progress) End() {
	p.mu.Lock()
	select {
	case <-p.stopped:
	default:
		close(p.stopped)
	}
	p.mu.Unlock()
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// line is what is shown: "12 of 91, about 8m left  vmm-killed  3s".
func (p *progress) line(now time.Time) string {
	var parts []string
	if p.all.total > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d%s", p.all.done, p.all.total, p.all.left(now)))
	}
	parts = append(parts, p.text)
	switch {
	case p.step.total > 0 && p.step.bytes:
		parts = append(parts, fmt.Sprintf("%.1f of %.1f MiB%s", mebi(p.step.done), mebi(p.step.total), p.step.left(now)))
	default:
		parts = append(parts, now.Sub(p.step.since).Truncate(time.Second).String())
	}
	return strings.Join(parts, "  ")
}

func mebi(n int64) float64 { return float64(n) / (1 << 20) }

// left is how long the rest takes at the pace so far; "" where that is not known yet.
func (p part) left(now time.Time) string {
	took := now.Sub(p.since)
	if p.done <= 0 || p.done >= p.total || took < time.Second {
		return ""
	}
	left := time.Duration(float64(took) * float64(p.total-p.done) / float64(p.done))
	if left < 2*time.Minute {
		return fmt.Sprintf(", about %ds left", max(1, int(left.Seconds())))
	}
	return fmt.Sprintf(", about %dm left", int(left.Round(time.Minute).Minutes()))
}
