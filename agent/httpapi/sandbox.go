package httpapi

import (
	"net/http"

	"tapwatch/agent/draw"
	"tapwatch/agent/path"
)

// HopTime is how long requests took in a hop, in seconds.
type HopTime struct {
	Hop      path.Hop `json:"hop"`
	Requests uint64   `json:"requests"`
	Sum      float64  `json:"sum"` // of all of them: two looks give the mean in between
	Median   float64  `json:"p50"`
	P99      float64  `json:"p99"`
	// Host says that these are the requests of the whole host: the sandbox has no
	// latencies of its own.
	Host bool `json:"host,omitempty"`
}

// sandboxPage is all that the page shows of one sandbox.
type sandboxPage struct {
	Slot    *path.Slot          `json:"slot"` // nil: it is gone
	Places  map[path.Hop]string `json:"places,omitempty"`
	Latency []HopTime           `json:"latency,omitempty"`
	History *path.History       `json:"history"` // nil: there is none
	// WentFirst says of the last loss of the carrier what came first; empty: none was.
	WentFirst string `json:"went_first,omitempty"`
}

// sandbox answers what is known of one sandbox, there or gone; 404 where nothing is.
func (a *api) sandbox(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	var p sandboxPage
	for _, s := range a.Views() {
		if s.Sandbox == nil || s.Sandbox.ID != id {
			continue
		}
		p.Slot, p.Places = s, map[path.Hop]string{}
		for _, h := range s.Diagnosis.Hops {
			p.Places[h.Hop] = draw.Place(*s, h.Hop)
		}
		if a.Latency != nil {
			p.Latency = a.Latency(s)
		}
		break
	}
	if h, ok := a.Recorder.History(id); ok {
		p.History, p.WentFirst = &h, h.LastLoss()
	}
	if p.Slot == nil && p.History == nil {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "no sandbox " + id + " is known"})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, p)
}
