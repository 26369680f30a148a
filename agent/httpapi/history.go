package httpapi

import (
	"net/http"
	"time"

	"tapwatch/agent/path"
)

// Recorder keeps what happened to sandboxes, for a time also of those that are gone.
type Recorder interface {
	// Past returns what is kept on disk, the latest where it is too much, and how many
	// more there are.
	Past(path.Question) (events []path.Event, more int, err error)
	History(sandboxID string) (path.History, bool)
	Sandboxes() []path.Lived
}

// sandboxes answers {"sandboxes": [...]}, each a path.Lived.
func (a *api) sandboxes(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{"sandboxes": a.Recorder.Sandboxes()})
}

// history answers a path.History, or 404 for a sandbox that is not known.
func (a *api) history(w http.ResponseWriter, r *http.Request) {
	h, ok := a.Recorder.History(r.PathValue("id"))
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "no sandbox " + r.PathValue("id") + " is in the history that this agent keeps"})
		return
	}
	writeJSON(w, http.StatusOK, h)
}

// past answers {"events": [...], "more": N}: what happened between since and until (RFC
// 3339), of one sandbox where that is given.
func (a *api) past(w http.ResponseWriter, r *http.Request) {
	q := path.Question{Sandbox: r.FormValue("sandbox")}
	for name, to := range map[string]*time.Time{"since": &q.Since, "until": &q.Until} {
		if v := r.FormValue(name); v != "" {
			var err error
			if *to, err = time.Parse(time.RFC3339, v); err != nil {
				writeJSON(w, http.StatusBadRequest, map[string]string{"error": name + " must be a time like 2026-12-01T02:14:00Z"})
				return
			}
		}
	}
	events, more, err := a.Recorder.Past(q)
	if err != nil {
		a.Log.Error("read the history", "err", err)
		writeJSON(w, http.StatusInternalServerError, map[string]string{"error": "the history could not be read; see the agent's log"})
		return
	}
	if events == nil {
		events = []path.Event{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"events": events, "more": more})
}
