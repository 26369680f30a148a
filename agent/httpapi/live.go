package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tapwatch/agent/path"
)

const (
	// liveEvery is how often viewers are told what has changed.
	liveEvery = 500 * time.Millisecond
	// liveGather is how long after an event the next look waits, so that what follows
	// from the event is in it, and a storm of events is few messages.
	liveGather = 100 * time.Millisecond
	// liveBehind is how many messages a viewer may be behind before it starts anew.
	liveBehind = 16
	// liveViewers bounds the connections that are kept.
	liveViewers = 256
	// liveEvents is how many events the page shows.
	liveEvents = 200
	// liveWrite is how long a viewer may take to receive one message.
	liveWrite = 10 * time.Second
	// liveHeartbeat tells a viewer that silence means that nothing has changed.
	liveHeartbeat = 5 * time.Second
)

// row is what the table of the page shows of a slot.
type row struct {
	Key      string     `json:"key"` // of the place and the stay: it never means another sandbox
	ID       string     `json:"id,omitempty"`
	Name     string     `json:"name,omitempty"`
	Netns    string     `json:"netns"`
	Device   string     `json:"device,omitempty"`
	Template string     `json:"template,omitempty"`
	State    path.State `json:"state"`
	Hop      path.Hop   `json:"hop,omitempty"`   // where it breaks
	Codes    []string   `json:"codes,omitempty"` // of what was found
	Text     string     `json:"text,omitempty"`  // the cause that matters most, or who holds the tap
	Since    time.Time  `json:"since,omitzero"`  // of that finding, else of the sandbox
	Silenced bool       `json:"silenced,omitempty"`
}

func rowOf(s *path.Slot) row {
	r := row{Netns: s.Netns, Device: s.Device.Name, State: s.Diagnosis.State, Silenced: s.Silence != nil}
	if b := s.Sandbox; b != nil {
		r.ID, r.Name, r.Template, r.Since, r.Hop = b.ID, b.Name, b.TemplateID, b.Since, s.Diagnosis.BrokenAt()
	} else if h := s.Unidentified; h != nil {
		r.Text = "held by " + h.Command + " (pid " + strconv.Itoa(h.PID) + ")"
	}
	r.Key = strconv.FormatUint(uint64(s.Cookie), 36) + "/" + s.Netns + "/" + r.Device + "/" + r.ID
	for i, f := range path.BySeverity(s.Diagnosis.Findings) {
		r.Codes = append(r.Codes, f.Code)
		if i == 0 {
			r.Text, r.Since = f.Cause, f.Since
		}
	}
	return r
}

// head is what the page says of the host.
type head struct {
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Ready   string    `json:"ready,omitempty"` // what is missing; empty once ready
	Lacks   []string  `json:"lacks,omitempty"` // what the agent may not do here
	Levels  string    `json:"levels,omitempty"`
}

// told is a row as viewers have it, and when it was there last.
type told struct {
	key  string
	json []byte
	seen uint64 // number of the comparison
}

// live tells all viewers of the page what has changed. One goroutine compares and
// encodes for all of them, and only while there are some.
type live struct {
	api *api

	mu       sync.Mutex
	viewers  map[*viewer]struct{}
	rows     map[string]*told     // by key
	of       map[*path.Slot]*told // the same by view: one that is known has not changed
	order    []*told
	compared uint64
	head     []byte
	events   []json.RawMessage // the newest last
	whole    []byte            // the message with all of it; nil: to be made
	stop     chan struct{}     // ends the goroutine; nil: none runs
}

// viewer is one open page, with the messages that it has not been sent yet.
type viewer struct{ C chan []byte }

var errTooMany = errors.New("too many pages are open: close some, or read /api/v1/paths")

// join adds a viewer, with all that it must know first in its channel.
func (l *live) join() (*viewer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.viewers) >= liveViewers {
		return nil, errTooMany
	}
	if len(l.viewers) == 0 {
		l.begin()
	}
	v := &viewer{make(chan []byte, liveBehind)}
	v.C <- l.all()
	l.viewers[v] = struct{}{}
	return v, nil
}

// leave removes a viewer; with the last one goes all that was kept for them.
func (l *live) leave(v *viewer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.viewers, v)
	if len(l.viewers) == 0 && l.stop != nil {
		close(l.stop)
		l.stop, l.rows, l.of, l.order, l.head, l.events, l.whole = nil, nil, nil, nil, nil, nil, nil
	}
}

// begin reads everything anew and starts the goroutine. The lock is held.
func (l *live) begin() {
	recent, sub := l.api.Events.Follow()
	l.viewers, l.rows, l.stop = map[*viewer]struct{}{}, map[string]*told{}, make(chan struct{})
	for _, e := range recent[max(0, len(recent)-liveEvents):] {
		l.note(e)
	}
	l.compare()
	go func(stop chan struct{}) {
		defer sub.Close()
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		for {
			var happened []path.Event
			select {
			case <-stop:
				return
			case <-tick.C:
			case e := <-sub.C:
				happened = append(happened, e)
				select {
				case <-stop:
					return
				case <-time.After(liveGather):
				}
			}
			for more := true; more; {
				select {
				case e := <-sub.C:
					happened = append(happened, e)
				default:
					more = false
				}
			}
			l.tell(stop, happened)
		}
	}(l.stop)
}

// tell sends what is new to all viewers.
func (l *live) tell(stop chan struct{}, happened []path.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != stop { // the last viewer has left meanwhile
		return
	}
	happened = happened[max(0, len(happened)-liveEvents):]
	for _, e := range happened {
		l.note(e)
	}
	put, gone, headed := l.compare()
	if len(put) == 0 && len(gone) == 0 && len(happened) == 0 && !headed {
		return
	}
	l.whole = nil
	change := map[string]any{"now": time.Now()}
	if len(put) > 0 {
		change["put"] = put
	}
	if len(gone) > 0 {
		change["gone"] = gone
	}
	if len(happened) > 0 {
		change["events"] = l.events[len(l.events)-len(happened):]
	}
	if headed {
		change["head"] = json.RawMessage(l.head)
	}
	msg := message("change", change)
	for v := range l.viewers {
		select {
		case v.C <- msg:
		default: // it starts anew, with what it has not read thrown away
			for len(v.C) > 0 {
				<-v.C
			}
			v.C <- l.all()
		}
	}
}

// compare takes what is now known, and returns the rows that differ from what viewers
// have, the keys of those that went, and whether the head differs. The lock is held.
func (l *live) compare() (put []json.RawMessage, gone []string, headed bool) {
	views := l.api.Views()
	l.order = l.order[:0]
	l.compared++
	of := make(map[*path.Slot]*told, len(views))
	for _, s := range views {
		t := l.of[s]
		if t == nil {
			r := rowOf(s)
			text, _ := json.Marshal(r) // a row always marshals
			if t = l.rows[r.Key]; t == nil {
				t = &told{key: r.Key}
				l.rows[r.Key] = t
			}
			if t.seen == l.compared { // two VMMs say one id, at one tap: the first is shown
				continue
			}
			if !bytes.Equal(t.json, text) {
				t.json = text
				put = append(put, text)
			}
		}
		t.seen = l.compared
		of[s] = t
		l.order = append(l.order, t)
	}
	l.of = of
	if len(l.rows) > len(l.order) {
		for key, t := range l.rows {
			if t.seen != l.compared {
				gone = append(gone, key)
				delete(l.rows, key)
			}
		}
	}
	was := l.head
	l.head = l.api.head()
	return put, gone, !bytes.Equal(was, l.head)
}

func (l *live) note(e path.Event) {
	if text, err := json.Marshal(e); err == nil {
		if len(l.events) >= 2*liveEvents { // moved now and then, not each time
			l.events = append([]json.RawMessage(nil), l.events[liveEvents:]...)
		}
		l.events = append(l.events, text)
	}
}

// all is the message with everything. The lock is held.
func (l *live) all() []byte {
	if l.whole == nil {
		rows := make([]json.RawMessage, len(l.order))
		for i, t := range l.order {
			rows[i] = t.json
		}
		l.whole = message("all", map[string]any{"now": time.Now(), "rows": rows, "head": json.RawMessage(l.head), "events": l.events[max(0, len(l.events)-liveEvents):]})
	}
	return l.whole
}

func message(kind string, v any) []byte {
	b := bytes.NewBufferString("event: " + kind + "\ndata: ")
	_ = json.NewEncoder(b).Encode(v) // maps of what always marshals; it ends the line
	b.WriteByte('\n')
	return b.Bytes()
}

// serveLive streams the rows of the page as server-sent events: all of them, then what
// changes.
func (a *api) serveLive(w http.ResponseWriter, r *http.Request) {
	v, err := a.live.join()
	if err != nil {
		w.Header().Set("Retry-After", "10")
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	defer a.live.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep it back
	out := http.NewResponseController(w)
	beat := time.NewTicker(liveHeartbeat)
	defer beat.Stop()
	for {
		msg := []byte("event: alive\ndata: {}\n\n")
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
		case msg = <-v.C:
		}
		_ = out.SetWriteDeadline(time.Now().Add(liveWrite)) // without one it waits as long as the kernel does
		if _, err := w.Write(msg); err != nil || out.Flush() != nil {
			return
		}
	}
}
