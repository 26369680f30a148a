package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tapwatch/agent/path"
)

// heartbeat keeps middle boxes from cutting a quiet stream, and shows the client
// that the agent lives.
const heartbeat = 15 * time.Second

// connected is the line between the events that were kept and those that come.
const connected = ": connected"

// events streams events as server-sent events, first the kept ones unless
// recent=0 is asked for. A client that is too slow is told how many it missed.
func (a *api) events(w http.ResponseWriter, r *http.Request) {
	flusher := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	recent, sub := a.Events.Follow()
	defer sub.Close()
	if r.FormValue("recent") != "0" {
		for _, e := range recent {
			writeEvent(w, e)
		}
	}
	fmt.Fprint(w, connected+"\n\n")
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	var lost uint64
	for {
		if flusher.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			fmt.Fprint(w, ": alive\n\n")
		case e, ok := <-sub.C:
			if !ok {
				return
			}
			writeEvent(w, e)
			if n := sub.Lost(); n != lost {
				lost = n
				fmt.Fprintf(w, "event: lost\ndata: {\"lost\":%d}\n\n", n)
			}
		}
	}
}

func writeEvent(w http.ResponseWriter, e path.Event) {
	b, err := json.Marshal(e)
	if err != nil {
		return // an Event always marshals
	}
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.Kind, b)
}
