package path

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Lived is a sandbox that the agent has a history of.
type Lived struct {
	SandboxID string    `json:"sandbox_id"`
	Name      string    `json:"name,omitempty"`
	Netns     string    `json:"netns"`
	Gone      time.Time `json:"gone,omitzero"` // zero: it is there
}

// History is what happened to a sandbox, the oldest first.
type History struct {
	Lived
	Boot    *Boot   `json:"boot"` // nil: unknown
	Events  []Event `json:"events"`
	Dropped int     `json:"dropped"` // elder events that found no place
}

// afterwards is how much later the one of a death and a loss of carrier may come
// that belong together.
const afterwards = 5 * time.Second

// LastLoss says of the last loss of the carrier what came first, the end of the
// VMM or the loss; "" where the carrier was never lost.
func (h History) LastLoss() string {
	var lost, ended *Event
	for i := range h.Events {
		switch e := &h.Events[i]; e.Kind {
		case CarrierLost:
			lost = e
		case VMMExited:
			ended = e
		}
	}
	switch {
	case lost == nil:
		return ""
	case ended == nil || ended.Time.Sub(lost.Time).Abs() > afterwards:
		return "the carrier went while the VMM ran"
	case ended.Time.After(lost.Time): // the agent sees it later than it is, never earlier
		return fmt.Sprintf("the carrier went first, %s before the VMM ended", short(ended.Time.Sub(lost.Time)))
	case ended.HeldTap == Yes:
		return fmt.Sprintf("the VMM ended first, %s before the agent saw the carrier go", short(lost.Time.Sub(ended.Time)))
	case ended.HeldTap == No:
		return "the carrier went first: the VMM had let go of its tap when it ended"
	}
	return fmt.Sprintf("which went first is not known: the agent saw the carrier go %s after the VMM's end", short(lost.Time.Sub(ended.Time)))
}

// DrawHistory writes a boot as a waterfall and the events under it.
func DrawHistory(w io.Writer, h History, on Screen) {
	title := h.SandboxID + " in " + h.Netns
	if h.Name != "" {
		title = h.Name + "  " + title
	}
	if h.Gone.IsZero() {
		fmt.Fprintln(w, title)
	} else {
		fmt.Fprintf(w, "%s, gone since %s\n", title, h.Gone.Format(time.TimeOnly))
	}
	drawBoot(w, h.Boot)
	if h.Dropped > 0 {
		fmt.Fprintf(w, "  %d elder events are no longer kept\n", h.Dropped)
	}
	for i, e := range h.Events {
		gap := ""
		if i > 0 {
			gap = "+" + short(e.Time.Sub(h.Events[i-1].Time))
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

func drawBoot(w io.Writer, b *Boot) {
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
	took := short(total)
	if b.At(EnvdHealthy).IsZero() && b.At(SYNACK).IsZero() {
		took = "not finished,"
	}
	fmt.Fprintf(w, "  boot, %s since %s\n", took, b.Begin.Format("15:04:05.000"))
	for _, s := range steps {
		end := int(s.Since * barWidth / total)
		start := min(int((s.Since-min(s.Took, s.Since))*barWidth/total), barWidth-1)
		bar := strings.Repeat(" ", start) + strings.Repeat("#", max(1, end-start))
		fmt.Fprintf(w, "    %-12s %9s  %9s  |%-*s|\n", s.Phase, short(s.Since), "+"+short(s.Took), barWidth, bar)
	}
	for _, p := range Phases {
		if b.At(p).IsZero() {
			fmt.Fprintf(w, "    %-12s   not seen\n", p)
		}
	}
}

// short rounds a duration to what a reader needs: three digits or so.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
