package httpapi

import (
	"net/http"

	"tapwatch/agent/path"
)

// Recorder keeps what happened to sandboxes, for an hour also of those that are gone.
type Recorder interface {
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
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "no sandbox " + r.PathValue("id") + " was seen in the last hour"})
		return
	}
	writeJSON(w, http.StatusOK, h)
}
