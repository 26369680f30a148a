package main

import (
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"tapwatch/agent/draw"
)

// everyCommand calls fn with a command and all below it.
func everyCommand(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, fn)
	}
}

// TestHelpFitsATerminal holds that what cobra does not wrap fits 80 columns.
func TestHelpFitsATerminal(t *testing.T) {
	everyCommand(rootCommand(), func(c *cobra.Command) {
		if n := len("  ") + max(11, len(c.Name())) + 1 + len(c.Short); n > 80 {
			t.Errorf("%s: its line among commands has %d columns", c.CommandPath(), n)
		}
	})
}

// TestHelpKeepsWithinTheTerminal reads help as a terminal of 80 columns gets it.
func TestHelpKeepsWithinTheTerminal(t *testing.T) {
	for _, args := range [][]string{{"up", "--help"}, {"agent", "--help"}, {"drill"}, {"--help"}} {
		keptWithin(t, onTerminal(t, 80, args...), 80)
	}
}

// onTerminal is what tapwatch prints to a terminal.
func onTerminal(t *testing.T, columns uint16, args ...string) string {
	t.Helper()
	terminal, side, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	if err := pty.Setsize(side, &pty.Winsize{Rows: 24, Cols: columns}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "tapwatch", args...) // this test's own binary: see TestMain
	cmd.Stdout, cmd.Stderr = side, side
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	side.Close()
	out, _ := io.ReadAll(terminal) // EIO at its end
	if err := cmd.Wait(); err != nil {
		t.Errorf("tapwatch %v: %v", args, err)
	}
	return strings.ReplaceAll(string(out), "\r\n", "\n")
}

func TestTableKeepsWithinAScreen(t *testing.T) {
	var list table
	list.row("SANDBOX", "NAME", "STATE", "STARTED")
	list.row("i0123456789abcdef0123", "a \x1b[31mname\nof two lines", "failed: its VMM was killed", "2026-12-01 01:02:03")
	for _, width := range []int{0, 200, 60, 40, 30} {
		var out strings.Builder
		if err := list.print(&out, draw.Screen{Width: width}); err != nil {
			t.Fatal(err)
		}
		if width > 0 {
			keptWithin(t, out.String(), width)
		}
		for _, word := range []string{"i0123456789abcdef0123", "killed", "01:02:03", `\x1b[31mname\nof`} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("%d columns: %s is lost in\n%s", width, word, out.String())
			}
		}
		if strings.ContainsRune(out.String(), 0x1b) {
			t.Errorf("a stranger's escape is printed: %q", out.String())
		}
	}
}
