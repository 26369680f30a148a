package api

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"tapwatch/internal/sandbox"
)

// followEvery is how often a followed console is read. It is a plain file that
// the VMM appends to.
const followEvery = 200 * time.Millisecond

// console answers with the guest's serial console as plain text; follow=true
// goes on as it grows, until the client leaves or the sandbox ends.
func (s *server) console(w http.ResponseWriter, r *http.Request) {
	sb, err := s.cfg.Manager.Get(r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f, err := os.Open(sb.Console)
	if errors.Is(err, fs.ErrNotExist) {
		refuse(w, http.StatusNotFound, "sandbox %s has no console yet", sb.ID)
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff") // the guest writes what it likes
	if r.URL.Query().Get("follow") == "true" {
		s.follow(w, r, f, sb.ID)
		return
	}
	_, _ = io.Copy(w, f) // fails only where the client has gone
}

func (s *server) follow(w http.ResponseWriter, r *http.Request, f *os.File, id string) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		_, getErr := s.cfg.Manager.Get(id) // before the read: its last words are read too
		if wasCut(f) {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return
			}
		}
		if _, err := io.Copy(w, f); err != nil {
			return
		}
		if errors.Is(getErr, sandbox.ErrNotFound) {
			return
		}
		_ = http.NewResponseController(w).Flush() // a writer that cannot sends when it likes
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// wasCut reports whether the log is shorter than what was read of it: it was too
// long, and begins again with a note that says so.
func wasCut(f *os.File) bool {
	at, err := f.Seek(0, io.SeekCurrent)
	info, statErr := f.Stat()
	return err == nil && statErr == nil && info.Size() < at
}
