package drill

import (
	"fmt"
	"io"
	"time"
)

// Line writes one result for people.
func (r Result) Line(w io.Writer) {
	verdict := "right"
	switch {
	case r.Error != "":
		verdict = "error"
	case !r.Right:
		verdict = "WRONG"
	}
	named := r.Named
	if named == "" {
		named = "nothing named"
	}
	fmt.Fprintf(w, "%-24s %-6s %-24s %5.1f s", r.Fault, verdict, named, r.Seconds)
	if !r.Right && r.Named != r.Expected {
		fmt.Fprintf(w, "  expected: %s", r.Expected)
	}
	if r.Rule != "" {
		fmt.Fprintf(w, "  %s", r.Rule)
	}
	if r.Alert != "" {
		fmt.Fprintf(w, "  alert %s after %.1f s", r.Alert, r.AlertSeconds)
	}
	if r.Error != "" {
		fmt.Fprintf(w, "  %s", r.Error)
	}
	fmt.Fprintln(w)
}

// Markdown writes a table of results, as docs/drill.md holds it.
func Markdown(w io.Writer, results []Result) {
	fmt.Fprintln(w, "| fault | what is done | hop | expected | named | right | seconds |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|")
	for _, r := range results {
		var f Fault
		if found, err := Find(r.Fault); err == nil {
			f = found[0]
		}
		named, right := "`"+r.Named+"`", "yes"
		if r.Named == "" {
			named = "nothing"
		}
		if !r.Right {
			right = "**no**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | `%s` | %s | %s | %.1f |\n", r.Fault, f.What, f.Hop, r.Expected, named, right, r.Seconds)
	}
}

// Tally counts the results that are right.
func Tally(results []Result, took time.Duration) string {
	right := 0
	for _, r := range results {
		if r.Right {
			right++
		}
	}
	return fmt.Sprintf("%d of %d faults named rightly, in %s", right, len(results), took.Round(time.Second))
}
