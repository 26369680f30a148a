package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"tapwatch/agent/slots"
)

// TestFileWatch: whose file is written to is reported, for files that come, wait for one
// who may read them, and go.
func TestFileWatch(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(file(name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := slots.Key{Claim: 1}, slots.Key{Claim: 2}, slots.Key{Claim: 3}
	write("shared")
	write("hangs")
	w, err := newFileWatch("files", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	}()
	reached := func(name string) bool { return name != file("hangs") }
	files := map[string][]slots.Key{file("shared"): {a, b}, file("hangs"): {c}, file("late"): {c}}
	if added, all := w.keep(files, reached); all || !slices.Equal(added, []slots.Key{a, b}) {
		t.Errorf("added %v, all %v: one hangs, and one is not there", added, all)
	}
	write("late")
	if added, all := w.keep(files, func(string) bool { return true }); !all || !slices.Equal(added, []slots.Key{c, c}) {
		t.Errorf("added %v, all %v", added, all)
	}
	delete(files, file("hangs"))
	if added, all := w.keep(files, reached); !all || added != nil || len(w.of) != 2 {
		t.Errorf("added %v, all %v, watches %v", added, all, w.of)
	}

	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan []slots.Key, 16), make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx, func() uint64 { return 0 }, func() bool { return true }, func(keys ...slots.Key) { changed <- keys })
	}()
	write("hangs") // is no longer watched
	write("shared")
	if got := <-changed; !slices.Equal(got, []slots.Key{a, b}) {
		t.Errorf("reported %v", got)
	}
	cancel()
	<-ended
}
