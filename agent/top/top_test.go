package top

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"tapwatch/agent/path"
)

// slot is a slot with a sandbox.
func slot(n int, name string, state path.State, codes ...string) path.Slot {
	s := path.Slot{Facts: path.Facts{
		Netns: fmt.Sprintf("ns-%d", n), Device: path.Device{Name: "tap0"},
		Sandbox: &path.Sandbox{ID: fmt.Sprintf("i%04d", n), Name: name},
	}}
	s.Diagnosis.State = state
	for i, hop := range path.Hops {
		h := path.HopState{Hop: hop, State: path.OK, Detail: "fine"}
		if i == 2 {
			h.State = state
		}
		s.Diagnosis.Hops = append(s.Diagnosis.Hops, h)
	}
	for i, code := range codes {
		s.Diagnosis.Findings = append(s.Diagnosis.Findings, path.Finding{Code: code, Hop: path.Tap, Severity: path.Critical, Cause: "cause of " + code, Since: time.Unix(int64(1000*n+i), 0)})
	}
	return s
}

func names(rows []Row) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Netns)
	}
	return strings.Join(all, " ")
}

func TestSortAndFilter(t *testing.T) {
	idle := path.Slot{Facts: path.Facts{Netns: "ns-9"}, Diagnosis: path.Diagnosis{State: path.Idle}}
	slots := []path.Slot{slot(10, "b", path.OK), slot(2, "c", path.Broken, "vmm-exited"), slot(1, "a", path.Undecided), slot(3, "d", path.OK, "degraded"), idle}
	for order, want := range map[string]string{
		"state": "ns-2 ns-1 ns-3 ns-10", "name": "ns-1 ns-10 ns-2 ns-3", "id": "ns-1 ns-2 ns-3 ns-10", "netns": "ns-1 ns-2 ns-3 ns-10", "since": "ns-3 ns-2 ns-1 ns-10",
	} {
		rows := Rows(slots, false)
		Sort(rows, order)
		if got := names(rows); got != want {
			t.Errorf("by %s: %s, want %s", order, got, want)
		}
	}
	for text, want := range map[string]string{
		"": "ns-10 ns-2 ns-1 ns-3", "BROKEN": "ns-2", "ok hop:tap degraded": "ns-3", "i0010": "ns-10", "ns-1": "ns-10 ns-1", "vmm-exited ok": "", "nobody": "",
	} {
		if got := names(Filter(Rows(slots, false), text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	if got := names(Rows(slots, true)); !strings.HasSuffix(got, "ns-9") {
		t.Errorf("with idle slots: %s", got)
	}
	if n := Counts(Rows(slots, true)); n[path.OK] != 2 || n[path.Broken] != 1 || n[path.Idle] != 1 {
		t.Errorf("counts: %v", n)
	}
}

// press gives the model keys, by their names.
func press(m *model, keys ...string) {
	for _, k := range keys {
		special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "end": tea.KeyEnd, "home": tea.KeyHome, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace}
		msg := tea.KeyPressMsg{Code: special[k]}
		if special[k] == 0 {
			msg = tea.KeyPressMsg{Code: []rune(k)[0], Text: k}
		}
		m.Update(msg)
	}
}

func screenText(m *model) string { return m.View().Content }

func fleet(n int) []path.Slot {
	var slots []path.Slot
	for i := range n {
		slots = append(slots, slot(i, fmt.Sprintf("name-%d", i), path.OK))
	}
	return slots
}

// TestCursorStaysAtItsSandbox holds that what comes and goes above moves the selection
// along.
func TestCursorStaysAtItsSandbox(t *testing.T) {
	m := newModel(Config{Order: "netns"})
	slots := fleet(5000)
	m.Update(looked{slots: slots, at: time.Now()})
	for range 30 {
		press(m, "down")
	}
	if got := m.rows[m.cursor].Netns; got != "ns-30" {
		t.Fatalf("at %s", got)
	}
	m.Update(looked{slots: slots[5:], at: time.Now()})
	if got := m.rows[m.cursor].Netns; got != "ns-30" || !strings.Contains(screenText(m), "> i0030") {
		t.Errorf("after five have gone it is at %s:\n%s", got, screenText(m))
	}
	press(m, "end")
	if got := m.rows[m.cursor].Netns; got != "ns-4999" || !strings.Contains(screenText(m), "> i4999") {
		t.Errorf("the last is %s:\n%s", got, screenText(m))
	}
	m.Update(looked{slots: slots[:7], at: time.Now()}) // the chosen one has gone too
	if m.cursor >= len(m.rows) || !strings.Contains(screenText(m), "> i000") {
		t.Errorf("the cursor is at %d of %d:\n%s", m.cursor, len(m.rows), screenText(m))
	}
	m.Update(looked{at: time.Now()})
	if !strings.Contains(screenText(m), "no sandboxes") {
		t.Errorf("none:\n%s", screenText(m))
	}
}

func TestOpenFilterEvents(t *testing.T) {
	m := newModel(Config{})
	m.Update(looked{slots: append(fleet(100), slot(200, "bad\x1b[2J", path.Broken, "vmm-exited")), at: time.Now()})
	if text := screenText(m); !strings.Contains(text, `> i0200    bad\x1b[2J`) || !strings.Contains(text, "1 broken  100 ok") || strings.ContainsRune(text, 0x1b) {
		t.Errorf("the broken one is not first, or its name is not cleaned:\n%q", text)
	}
	m.Update(happened{path.Event{Time: time.Now(), Kind: path.VMMExited, Netns: "ns-200", SandboxID: "i0200", Text: "killed"}})
	press(m, "enter")
	if text := screenText(m); !strings.Contains(text, "cause of vmm-exited") || !strings.Contains(text, "killed") {
		t.Errorf("opened:\n%s", text)
	}
	press(m, "esc", "/", "n", "a", "m", "e", "-", "4", "4", "enter")
	if text := screenText(m); !strings.Contains(text, "> i0044") || !strings.Contains(text, "1 of 101") {
		t.Errorf("filtered:\n%s", text)
	}
	press(m, "e")
	if text := screenText(m); !strings.Contains(text, "vmm-exited   ns-200 (i0200): killed") {
		t.Errorf("events:\n%s", text)
	}
	press(m, "esc", "esc")
	if len(m.rows) != 101 {
		t.Errorf("%d rows without a filter", len(m.rows))
	}
}

// TestOldIsCalledOld holds that what an agent said that answers no more does not look
// like what is.
// TestTheWorstIsShown holds that a warning further up the path hides no break.
func TestTheWorstIsShown(t *testing.T) {
	s := slot(1, "a", path.Broken, "proxy-fd-limit", "vmm-exited", "relay-not-listening")
	s.Diagnosis.Findings[0].Severity = path.Warning
	if r := Rows([]path.Slot{s}, false)[0]; r.Code != "vmm-exited" || !r.Since.Equal(s.Diagnosis.Findings[1].Since) {
		t.Errorf("%+v", r)
	}
}

func TestOldIsCalledOld(t *testing.T) {
	m := newModel(Config{})
	if !strings.Contains(screenText(m), "asking the agent") {
		t.Errorf("at first:\n%s", screenText(m))
	}
	if title := m.View().WindowTitle; !strings.Contains(title, "asking the agent") {
		t.Errorf("at first the title is %q", title)
	}
	m.Update(looked{slots: fleet(1), at: time.Now()})
	m.Update(looked{err: fmt.Errorf("connection refused"), at: time.Now()})
	if text := screenText(m); !strings.Contains(text, "OLD, of ") || !strings.Contains(text, "connection refused") {
		t.Errorf("after the agent has gone:\n%s", text)
	}
	if title := m.View().WindowTitle; !strings.Contains(title, "OLD, of ") {
		t.Errorf("after the agent has gone the title is %q", title)
	}
}

// TestViewKeepsWithinTheTerminal tries each pane in terminals of all sizes.
func TestViewKeepsWithinTheTerminal(t *testing.T) {
	for _, color := range []bool{false, true} {
		for _, size := range [][2]int{{1, 1}, {10, 3}, {40, 10}, {80, 24}, {200, 60}} {
			m := newModel(Config{Color: color})
			m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
			m.Update(looked{slots: append(fleet(100), slot(200, "日本語の名前", path.Broken, "vmm-exited")), at: time.Now()})
			m.Update(happened{path.Event{Time: time.Now(), Kind: path.Bound, Netns: "ns-1", Text: strings.Repeat("long ", 50)}})
			for _, keys := range [][]string{{}, {"enter"}, {"esc", "e"}, {"esc", "?"}, {"esc", "pgdown", "end"}} {
				press(m, keys...)
				lines := strings.Split(screenText(m), "\n")
				if len(lines) > size[1] || slices.ContainsFunc(lines, func(l string) bool { return lipgloss.Width(l) > size[0] }) {
					t.Errorf("%v, colour %v, keys %v: %d lines:\n%s", size, color, keys, len(lines), screenText(m))
				}
			}
		}
	}
}

func BenchmarkArrange5000(b *testing.B) {
	m := newModel(Config{Filter: "name"})
	slots := fleet(5000)
	for b.Loop() {
		m.Update(looked{slots: slots, at: time.Now()})
		m.View()
	}
}
