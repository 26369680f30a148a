package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tapwatch/agent/draw"
	"tapwatch/internal/image"
)

func templateDiffCommand() *cobra.Command {
	var f templateFinder
	var output string
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two templates: one that works with one that does not",
		Long: `Diff compares two templates, each a directory, an image or a name: sizes, kernel,
VMM, /sbin/init line by line, envd's wrapper and binary, the files of the kernel
where they are on this host, and then every file that differs in /sbin, /etc,
/lib/modules and envd's places. It says what it compared. Nothing is mounted. The
exit status is 0 where nothing but sizes and builds differs, 1 where something does,
2 where that could not be told.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := f.diff(cmd, args[0], args[1])
			if err != nil {
				return undecided(cmd, err)
			}
			if output == "json" {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(d)
			} else {
				err = drawDiff(cmd.OutOrStdout(), args[0], args[1], d, screenOf(cmd.OutOrStdout()))
			}
			switch {
			case err != nil:
				return err
			case !d.Same():
				return exitFinding
			case len(d.Unread) > 0:
				return exitUndecided
			}
			return nil
		},
	}
	f.add(c)
	c.ValidArgsFunction = templateNames(&f.store.Dir, cobra.ShellCompDirectiveDefault, 2)
	outputFlag(c, &output, "text or json", "text", "json")
	return c
}

func (f *templateFinder) diff(cmd *cobra.Command, nameA, nameB string) (d image.Difference, err error) {
	err = f.inTime(cmd, func() error {
		a, err := f.open(cmd, nameA)
		if err != nil {
			return err
		}
		defer a.Close()
		b, err := f.open(cmd, nameB)
		if err != nil {
			return err
		}
		defer b.Close()
		d, err = image.Diff(a, b, f.hostOf(a), f.hostOf(b))
		return err
	})
	return d, err
}

func drawDiff(out io.Writer, a, b string, d image.Difference, on draw.Screen) error {
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\t\n", a, b)
	for _, r := range d.Rows {
		mark := ""
		if r.Differ {
			mark = "differ"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.What, r.A, r.B, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(table.String(), "\n"); on.Width > 0 && len(first) > on.Width {
		drawRows(out, a, b, d.Rows)
	} else {
		for line := range strings.Lines(table.String()) {
			fmt.Fprintln(out, strings.TrimRight(line, " \n"))
		}
	}
	drawLines(out, "/sbin/init", d.Init)
	drawLines(out, "envd wrapper", d.Wrapper)
	if len(d.Files) > 0 {
		fmt.Fprintf(out, "\nfiles that differ in /sbin, /etc, /lib/modules and envd's places: %d\n", len(d.Files))
	}
	for _, f := range d.Files {
		fmt.Fprintf(out, "  %s\n    - %s\n    + %s\n", f.Name, f.A, f.B)
	}
	for _, u := range d.Unread {
		fmt.Fprintln(out, "not compared: "+u)
	}
	if d.Same() && len(d.Unread) == 0 {
		fmt.Fprintln(out, "\nno difference")
	}
	fmt.Fprintln(out, "\n"+on.Fold("compared: "+strings.Join(d.Compared, ", "), 0))
	return nil
}

// drawRows is the table where it is too wide for the screen: what is the same once,
// what differs one under the other.
func drawRows(out io.Writer, a, b string, rows []image.Row) {
	fmt.Fprintf(out, "- %s\n+ %s\n", a, b)
	for _, r := range rows {
		if !r.Differ {
			fmt.Fprintf(out, "  %-15s %s\n", r.What, r.A)
			continue
		}
		fmt.Fprintf(out, "- %-15s %s\n+ %-15s %s\n", r.What, r.A, "", r.B)
	}
}

// drawLines shows the lines that differ with two lines around each.
func drawLines(out io.Writer, what string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(out, "\n%s, line by line:\n", what)
	const around = 2
	shown := make([]bool, len(lines))
	for n, l := range lines {
		if !strings.HasPrefix(l, "  ") {
			for k := max(0, n-around); k <= min(len(lines)-1, n+around); k++ {
				shown[k] = true
			}
		}
	}
	for n, l := range lines {
		switch {
		case shown[n]:
			fmt.Fprintln(out, "  "+strings.TrimRight(l, " "))
		case n == 0 || shown[n-1]:
			fmt.Fprintln(out, "  ...")
		}
	}
}
