package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"

	"tapwatch/internal/nettest"
)

func TestProgressLine(t *testing.T) {
	begin := time.Unix(1000, 0)
	at := begin.Add(30 * time.Second)
	for want, p := range map[string]*progress{
		"resolving packages  30s":                                         {text: "resolving packages", step: part{since: begin}},
		"downloading 61 packages  23.0 of 92.0 MiB, about 90s left":       {text: "downloading 61 packages", step: part{since: begin, done: 23 << 20, total: 92 << 20, bytes: true}},
		"downloading 61 packages  0.0 of 92.0 MiB":                        {text: "downloading 61 packages", step: part{since: begin, total: 92 << 20, bytes: true}},
		"20 of 30, about 15s left  vmm-killed: the VMM gets SIGKILL  30s": {text: "vmm-killed: the VMM gets SIGKILL", step: part{since: begin}, all: part{since: begin, done: 20, total: 30}},
		"0 of 91  vmm-killed  30s":                                        {text: "vmm-killed", step: part{since: begin}, all: part{since: begin, total: 91}},
		"1 of 91, about 45m left  vmm-killed  30s":                        {text: "vmm-killed", step: part{since: begin}, all: part{since: begin, done: 1, total: 91}},
	} {
		if got := p.line(at); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestProgressOfNoTerminal holds that a file gets a line for each step and no escapes.
func TestProgressOfNoTerminal(t *testing.T) {
	var out strings.Builder
	p := newProgress(&out)
	p.Step("one")
	p.Bytes(1, 2)
	p.Step("two")
	time.Sleep(2 * redraw)
	p.End()
	p.End()
	if out.String() != "one\ntwo\n" {
		t.Errorf("%q", out.String())
	}
}

// TestProgressOnATerminal holds that a terminal shows one line, that what is printed
// meanwhile stands above it, and that nothing of it is left at the end.
func TestProgressOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	terminal, side, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := pty.Setsize(side, &pty.Winsize{Rows: 10, Cols: 40}); err != nil {
		t.Fatal(err)
	}
	screen := vt.NewSafeEmulator(40, 10)
	read := make(chan struct{})
	go func() { defer close(read); _, _ = io.Copy(screen, terminal) }()
	shows := func(want string) {
		t.Helper()
		nettest.Eventually(t, want, func() bool { return strings.Contains(screen.Render(), want) })
	}
	p := newProgress(side)
	p.Step("downloading a very long list of packages with long names")
	p.Of(3, 9)
	shows("3 of 9  downloading")
	p.Over(func() { fmt.Fprintln(side, "a result") })
	shows("a result")
	p.Step("the next")
	shows("the next")
	p.End()
	side.Close()
	<-read
	if got := strings.TrimSpace(screen.Render()); got != "a result" {
		t.Errorf("in the end the screen shows %q", got)
	}
}
