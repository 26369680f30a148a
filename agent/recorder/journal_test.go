package recorder

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tapwatch/agent/path"
)

func openJournal(t *testing.T, cfg JournalConfig) *Journal {
	t.Helper()
	j, err := OpenJournal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// TestJournalOutlivesTheAgent: what happened to a sandbox is known after a restart, of
// one that is there and of one that is gone, by its id and its name.
func TestJournalOutlivesTheAgent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	began := time.Now().Add(-26 * time.Hour).Truncate(time.Second)
	j := openJournal(t, JournalConfig{Dir: dir})
	r := New(j)
	tell := func(r *Recorder, after time.Duration, id string, kind path.EventKind, text string) {
		r.Note(path.Event{Time: began.Add(after), Kind: kind, SandboxID: id, Name: "run-" + id, Netns: "ns-1", Text: text})
	}
	tell(r, 0, "gone", path.Bound, "it came")
	r.Boot("gone", (&path.Boot{Begin: began, Watched: true}).With(path.VMMStarted, began.Add(time.Second)))
	tell(r, time.Minute, "gone", path.CarrierLost, "NO-CARRIER")
	tell(r, 2*time.Minute, "gone", path.Unbound, "it went")
	tell(r, 0, "here", path.Bound, "it came")
	for i := range eventsKept + 10 { // more than memory has place for
		tell(r, time.Duration(i)*time.Second, "here", path.CarrierUp, fmt.Sprint(i))
	}
	if _, err := OpenJournal(JournalConfig{Dir: dir}); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if h, _ := r.History("here"); len(h.Events) != eventsKept+11 || h.Dropped != 0 {
		t.Errorf("before the restart: %d events, %d dropped", len(h.Events), h.Dropped)
	}
	// An agent that was killed leaves half a line.
	if err := os.WriteFile(filepath.Join(dir, "20990101T000000.000000000.jsonl"), []byte(`{"time":"2026`), 0o600); err != nil {
		t.Fatal(err)
	}
	r = New(openJournal(t, JournalConfig{Dir: dir}))
	tell(r, 26*time.Hour, "here", path.Bound, "it is there")
	h, ok := r.History("here")
	if !ok || len(h.Events) != eventsKept+12 || h.Events[0].Text != "it came" || h.Events[len(h.Events)-1].Text != "it is there" || !h.Gone.IsZero() {
		t.Errorf("here: %v, %d events, gone %v", ok, len(h.Events), h.Gone)
	}
	for _, who := range []string{"gone", "run-gone"} {
		h, ok := r.History(who)
		if !ok || h.SandboxID != "gone" || len(h.Events) != 3 || !h.Gone.Equal(began.Add(2*time.Minute)) || h.LastLoss() == "" || h.Boot == nil || h.Boot.At(path.VMMStarted).IsZero() {
			t.Errorf("%s: %v %+v", who, ok, h)
		}
	}
	if _, ok := r.History("nobody"); ok {
		t.Error("nobody has a history")
	}
	// What was at that time, of all.
	at := began.Add(time.Minute)
	events, more, err := r.Past(path.Question{Since: at.Add(-500 * time.Millisecond), Until: at.Add(500 * time.Millisecond)})
	if err != nil || more != 0 || len(events) != 2 {
		t.Errorf("at that minute: %+v, %d more, %v", events, more, err)
	}
}

// TestJournalIsBounded: in bytes and in days, and nothing else in the directory is touched.
func TestJournalIsBounded(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20200101T000000.000000000.jsonl", "mine.jsonl", "notes"} {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte("{}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-8*24*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	const most = 64 << 10
	j := openJournal(t, JournalConfig{Dir: dir, Bytes: most})
	for range 40 {
		var batch []entry
		for range 20 {
			batch = append(batch, entry{Event: &path.Event{Time: time.Now(), Kind: path.Problem, SandboxID: "i1", Text: strings.Repeat("x", 100)}})
		}
		if err := j.write(batch); err != nil {
			t.Fatal(err)
		}
	}
	sum, kept := int64(0), map[string]bool{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
		kept[e.Name()] = true
	}
	if sum > most || sum < most/2 || kept["20200101T000000.000000000.jsonl"] || !kept["mine.jsonl"] || !kept["notes"] {
		t.Errorf("%d bytes of %d: %v", sum, most, kept)
	}
}

// TestJournalThatCannotBe: a directory that cannot be made is said at once.
func TestJournalThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(JournalConfig{Dir: filepath.Join(file, "history")}); err == nil {
		t.Error("a journal in a file")
	}
}
