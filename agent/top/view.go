package top

import (
	"fmt"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"tapwatch/agent/draw"
	"tapwatch/agent/path"
	"tapwatch/internal/clean"
)

// chrome is the lines above and below the rows: title, counts, head, foot.
const chrome = 4

func (m *model) listHeight() int { return max(1, m.height-chrome) }

// View implements tea.Model.
func (m *model) View() tea.View {
	lines := []string{m.title(), m.state()}
	switch {
	case m.help:
		lines = append(lines, m.fit(strings.Split(helpText, "\n"), 0)...)
	case m.pane == one:
		lines = append(lines, m.fit(m.detail(), m.scroll)...)
	case m.pane == events:
		all := m.eventLines()
		lines = append(lines, m.fit(all, max(0, len(all)-m.listHeight()-1-m.scroll))...)
	default:
		lines = append(lines, m.table()...)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(0, m.height-1)], m.foot())
	for i, l := range lines {
		lines[i] = ansi.Truncate(l, m.width, "…")
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	v.WindowTitle = "tapwatch top: " + ansi.Strip(m.state())
	return v
}

func (m *model) title() string {
	return m.paint("1", "tapwatch top") + "  " + clean.Text(m.Client.BaseURL)
}

// state says how many there are, and how old that is: what is old must not look new.
func (m *model) state() string {
	switch {
	case m.err != nil && m.seen.IsZero():
		return m.paint("1;31", clean.Text(m.err.Error()))
	case m.seen.IsZero():
		return "asking the agent..."
	case m.err != nil:
		return m.paint("1;31", "OLD, of "+m.seen.Local().Format(time.TimeOnly)+": "+clean.Text(m.err.Error()))
	}
	return countsLine(m.counts)
}

func (m *model) foot() string {
	switch {
	case m.typing:
		return "filter: " + clean.Text(m.Filter) + "_"
	case m.pane == one:
		return "esc back  up/down scroll  e events  q quit"
	case m.pane == events:
		return "esc back  up/down scroll  q quit"
	}
	text := fmt.Sprintf("%d of %d  sorted by %s", len(m.rows), m.total, m.Order)
	if m.Filter != "" {
		text += "  filter: " + clean.Text(m.Filter)
	}
	return text + "  / filter  s sort  enter open  e events  i idle  ? help  q quit"
}

const helpText = `
  up, down, page up, page down, home, end   move
  enter     open the sandbox at the cursor, or close it
  /         filter by words: id, name, template, namespace, finding; ok, broken, ...; hop:tap
  s         sort by the next of state, name, id, netns, since
  i         show idle slots too, or no longer
  e         follow events
  esc       back; in the list: drop the filter
  q         quit`

// table is the head and the rows that fit.
func (m *model) table() []string {
	widths := m.widths()
	lines := []string{m.paint("1", cells(widths, "SANDBOX", "NAME", "NETNS", "STATE", "HOP", "SINCE", "CAUSE"))}
	for i := m.top; i < min(len(m.rows), m.top+m.listHeight()); i++ {
		r := m.rows[i]
		since := ""
		if !r.Since.IsZero() {
			since = r.Since.Local().Format(time.TimeOnly)
		}
		cause := r.Cause
		if r.Code != "" {
			cause = r.Code + ": " + cause
		}
		line := cells(widths, r.SandboxID, r.Name, r.Netns, string(r.State), string(r.Hop), since, cause)
		line = ansi.Truncate(line, m.width-2, "…")
		switch {
		case i == m.cursor && m.Color:
			line = m.paint("7", "> "+line)
		case i == m.cursor:
			line = "> " + line
		default:
			line = "  " + m.paint(colors[r.State], line)
		}
		lines = append(lines, line)
	}
	lines[0] = "  " + lines[0]
	return lines
}

var colors = map[path.State]string{path.OK: "", path.Broken: "1;31", path.Undecided: "33", path.Booting: "36", path.Paused: "36", path.Unidentified: "33", path.Idle: "2"}

// widths are those of the columns but the last, by what the rows on the screen need.
func (m *model) widths() []int {
	w := []int{len("SANDBOX"), len("NAME"), len("NETNS"), len("STATE"), len("HOP"), len("15:04:05")}
	for i := m.top; i < min(len(m.rows), m.top+m.listHeight()); i++ {
		r := m.rows[i]
		for n, text := range []string{r.SandboxID, r.Name, r.Netns, string(r.State), string(r.Hop)} {
			w[n] = max(w[n], min(lipgloss.Width(text), 24))
		}
	}
	return w
}

// cells is a line of a table; the last cell has what is left.
func cells(widths []int, texts ...string) string {
	var b strings.Builder
	for i, text := range texts {
		if i < len(widths) {
			text = ansi.Truncate(text, widths[i], "…")
			text += strings.Repeat(" ", widths[i]-lipgloss.Width(text)+2)
		}
		b.WriteString(text)
	}
	return strings.TrimRight(b.String(), " ")
}

// detail is the picture of the chosen sandbox and its last events.
func (m *model) detail() []string {
	s := m.open()
	if s == nil {
		return []string{"", "it is no longer there, or the filter hides it"}
	}
	var b strings.Builder
	fmt.Fprintln(&b)
	draw.Path(&b, *s, m.screen())
	fmt.Fprintln(&b)
	for _, e := range m.events {
		if s.Sandbox != nil && e.SandboxID == s.Sandbox.ID || s.Sandbox == nil && e.Netns == s.Netns {
			Event(&b, e, m.screen())
		}
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

func (m *model) screen() draw.Screen { return draw.Screen{Color: m.Color, Width: m.width} }

func (m *model) eventLines() []string {
	var b strings.Builder
	for _, e := range m.events {
		Event(&b, e, m.screen())
	}
	if len(m.events) == 0 {
		return []string{"", "nothing has happened so far"}
	}
	return strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
}

// fit is the lines from one on, as many as there is room for.
func (m *model) fit(lines []string, from int) []string {
	room := max(1, m.height-3)
	from = max(0, min(from, len(lines)-room))
	return lines[from:min(len(lines), from+room)]
}

func (m *model) paint(code, text string) string {
	if !m.Color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Event writes an event as a line with its date, in the reader's time zone.
func Event(w io.Writer, e path.Event, on draw.Screen) {
	who := clean.Text(e.Netns)
	if e.Name != "" {
		who += " " + clean.Text(e.Name)
	}
	if e.SandboxID != "" {
		who += " (" + clean.Text(e.SandboxID) + ")"
	}
	when := e.Time.Local().Format("2006-01-02 15:04:05.000")
	kind := fmt.Sprintf("%-12s", clean.Text(string(e.Kind)))
	text := on.Fold(who+": "+clean.Text(e.Text), len(when)+len("  ")+len(kind)+len(" "))
	if code := eventColors[e.Kind]; on.Color && code != "" {
		kind = "\x1b[" + code + "m" + kind + "\x1b[0m"
	}
	fmt.Fprintf(w, "%s  %s %s\n", when, kind, text)
}

// eventColors: red is what breaks a path, green what mends one.
var eventColors = map[path.EventKind]string{
	path.CarrierLost: "1;31", path.TapGone: "1;31", path.VMMExited: "1;31", path.Problem: "1;31",
	path.CarrierUp: "32", path.VMResumed: "32", path.Cleared: "32",
}
