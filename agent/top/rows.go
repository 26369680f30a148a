// Package top is the terminal's live view of all paths of a host: a client of the agent,
// like the page.
package top

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/clean"
)

// Row is one sandbox, or slot, in a line.
type Row struct {
	SandboxID string     `json:"sandbox_id,omitempty"`
	Name      string     `json:"name,omitempty"`
	Template  string     `json:"template,omitempty"`
	Netns     string     `json:"netns"`
	Device    string     `json:"device"`
	State     path.State `json:"state"`
	Hop       path.Hop   `json:"hop,omitempty"`  // where it breaks
	Code      string     `json:"code,omitempty"` // of the finding that matters most
	Cause     string     `json:"cause,omitempty"`
	Since     time.Time  `json:"since,omitzero"` // of that finding
	Findings  int        `json:"findings"`

	at    int    // of the slot, among those that the rows were made from
	words string // what a filter looks at
}

// Rows are the rows of slots: of those with a sandbox, or with somebody at their tap, and
// with idle of all.
func Rows(slots []path.Slot, idle bool) []Row {
	var rows []Row
	for i := range slots {
		s := &slots[i]
		if !idle && s.Sandbox == nil && s.Unidentified == nil && s.Stray == nil && s.Diagnosis.State != path.Undecided {
			continue
		}
		r := Row{
			Netns: clean.Text(s.Netns), Device: clean.Text(s.Device.Name), State: s.Diagnosis.State, Hop: s.Diagnosis.BrokenAt(),
			Findings: len(s.Diagnosis.Findings), at: i,
		}
		if b := s.Sandbox; b != nil {
			r.SandboxID, r.Name, r.Template = clean.Text(b.ID), clean.Text(b.Name), clean.Text(b.TemplateID)
		}
		var codes string
		for n, f := range path.BySeverity(s.Diagnosis.Findings) {
			if n == 0 {
				r.Code, r.Cause, r.Since = clean.Text(f.Code), clean.Text(f.Cause), f.Since
				r.Hop = cmp.Or(r.Hop, f.Hop)
			}
			codes += " " + f.Code
		}
		r.words = strings.ToLower(strings.Join([]string{r.SandboxID, r.Name, r.Template, r.Netns, r.Device, codes}, " "))
		rows = append(rows, r)
	}
	return rows
}

// Orders are the ways to sort rows, the first is the usual one.
var Orders = []string{"state", "name", "id", "netns", "since"}

// Sort sorts rows by one of Orders.
func Sort(rows []Row, order string) {
	byName := func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.SandboxID, b.SandboxID), compareNumbered(a.Netns, b.Netns))
	}
	compare := map[string]func(a, b Row) int{
		"state": func(a, b Row) int { // the worst first
			return cmp.Or(cmp.Compare(slices.Index(path.States, b.State), slices.Index(path.States, a.State)), cmp.Compare(b.Findings, a.Findings))
		},
		"id":    func(a, b Row) int { return cmp.Compare(a.SandboxID, b.SandboxID) },
		"netns": func(a, b Row) int { return compareNumbered(a.Netns, b.Netns) },
		"since": func(a, b Row) int { // the newest first
			return b.Since.Compare(a.Since) // the zero time is the oldest of all
		},
	}[order]
	slices.SortStableFunc(rows, func(a, b Row) int {
		if compare != nil {
			if c := compare(a, b); c != 0 {
				return c
			}
		}
		return byName(a, b)
	})
}

// compareNumbered has ns-2 before ns-10.
func compareNumbered(a, b string) int {
	headA, headB := strings.TrimRight(a, "0123456789"), strings.TrimRight(b, "0123456789")
	return cmp.Or(cmp.Compare(headA, headB), cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// Filter returns the rows that fit all words of a text. The name of a state is that state
// ("broken" holds an "ok"), hop:NAME that hop; any other word must be in a row's id, name,
// template, namespace, device or codes.
func Filter(rows []Row, text string) []Row {
	words := strings.Fields(strings.ToLower(text))
	if len(words) == 0 {
		return rows
	}
	var some []Row
	for _, r := range rows {
		if !slices.ContainsFunc(words, func(w string) bool { return !r.fits(w) }) {
			some = append(some, r)
		}
	}
	return some
}

func (r Row) fits(word string) bool {
	if slices.Contains(path.States, path.State(word)) {
		return r.State == path.State(word)
	}
	if hop, ok := strings.CutPrefix(word, "hop:"); ok {
		return strings.HasPrefix(string(r.Hop), hop)
	}
	return strings.Contains(r.words, word)
}

// Counts are how many rows are in each state.
func Counts(rows []Row) map[path.State]int {
	n := map[path.State]int{}
	for _, r := range rows {
		n[r.State]++
	}
	return n
}

// countsLine is the counts, what matters most first.
func countsLine(n map[path.State]int) string {
	var parts []string
	for _, s := range slices.Backward(path.States) {
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], s))
		}
	}
	if len(parts) == 0 {
		return "no sandboxes"
	}
	return strings.Join(parts, "  ")
}
