package draw

import (
	"fmt"
	"io"
	"strings"
	"time"

	"tapwatch/agent/path"
)

// History writes a boot as a waterfall and the events under it.
func History(w io.Writer, h path.History, on Screen) {
	title := h.SandboxID + " in " + h.Netns
	if h.Name != "" {
		title = h.Name + "  " + title
	}
	if h.Gone.IsZero() {
		fmt.Fprintln(w, title)
	} else {
		fmt.Fprintf(w, "%s, gone since %s\n", title, h.Gone.Format(time.DateTime))
	}
	drawBoot(w, h.Boot)
	if h.Dropped > 0 {
		fmt.Fprintf(w, "  %d elder events are no longer kept\n", h.Dropped)
	}
	day := ""
	for i, e := range h.Events {
		if d := e.Time.Format(time.DateOnly); d != day {
			day = d
			fmt.Fprintf(w, "  %s\n", day)
		}
		gap := ""
		if i > 0 {
			gap = "+" + path.Short(e.Time.Sub(h.Events[i-1].Time))
		}
		head := fmt.Sprintf("  %s  %9s  %-12s ", e.Time.Format("15:04:05.000"), gap, e.Kind)
		text, _ := on.fold(e.Text, len(head))
		fmt.Fprintln(w, head+text)
	}
	if l := h.LastLoss(); l != "" {
		l, _ = on.fold(l, 2)
		fmt.Fprintln(w, "  "+l)
	}
}

// barWidth is the width of the waterfall in characters.
const barWidth = 38

func drawBoot(w io.Writer, b *path.Boot) {
	if b == nil {
		return
	}
	steps := b.Steps()
	if !b.Watched {
		fmt.Fprintln(w, "  booted before the agent's start: its phases were not seen")
		return
	}
	if len(steps) == 0 {
		return
	}
	total := time.Duration(1)
	for _, s := range steps {
		total = max(total, s.Since)
	}
	took := path.Short(total)
	if b.At(path.EnvdHealthy).IsZero() && b.At(path.SYNACK).IsZero() {
		took = "not finished,"
	}
	fmt.Fprintf(w, "  boot, %s since %s\n", took, b.Begin.Format("15:04:05.000"))
	for _, s := range steps {
		end := int(s.Since * barWidth / total)
		start := min(int((s.Since-min(s.Took, s.Since))*barWidth/total), barWidth-1)
		bar := strings.Repeat(" ", start) + strings.Repeat("#", max(1, end-start))
		fmt.Fprintf(w, "    %-12s %9s  %9s  |%-*s|\n", s.Phase, path.Short(s.Since), "+"+path.Short(s.Took), barWidth, bar)
	}
	for _, p := range path.Phases {
		if b.At(p).IsZero() {
			fmt.Fprintf(w, "    %-12s   not seen\n", p)
		}
	}
}
