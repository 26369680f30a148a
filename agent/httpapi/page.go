package httpapi

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"tapwatch/agent/draw"
	"tapwatch/agent/path"
)

//go:embed ui
var ui embed.FS

type page struct{ *template.Template }

func newPage() (page, error) {
	t, err := template.New("index.html").Funcs(template.FuncMap{
		"place": draw.Place,
		"clock": func(t time.Time) string { return t.Format("15:04:05.000") },
	}).ParseFS(ui, "ui/index.html")
	if err != nil {
		return page{}, fmt.Errorf("parse page: %w", err)
	}
	return page{t}, nil
}

// static serves the page's style sheet.
func static() http.Handler {
	return http.FileServerFS(ui)
}

type view struct {
	Now    time.Time
	Bound  []path.Slot
	Idle   []path.Slot
	Others []path.Slot  // held by somebody unidentified, or nobody knows by whom
	Events []path.Event // newest first
	Ready  string       // what is missing, empty once ready
	Lacks  []string     // what the agent may not do here
	Levels string       // which checks are switched off or demoted; empty: none
}

const eventsOnPage = 40

// sorted parts the slots of one snapshot into those with a sandbox, the broken ones
// first, the idle ones, and those that somebody unidentified holds. The page takes one
// snapshot a request: with two, a sandbox that changes between them would stand on the
// page twice, or not at all.
func sorted(slots []path.Slot) (bound, idle, others []path.Slot) {
	var rest []path.Slot
	for _, s := range slots {
		switch {
		case s.Sandbox == nil && s.Diagnosis.State != path.Idle:
			others = append(others, s)
		case s.Sandbox == nil:
			idle = append(idle, s)
		case s.Diagnosis.State == path.Broken:
			bound = append(bound, s)
		default:
			rest = append(rest, s)
		}
	}
	return append(bound, rest...), idle, others
}

// index lists the sandboxes with their paths, those with a problem first. It
// reloads itself and needs no script.
func (a *api) index(w http.ResponseWriter, r *http.Request) {
	v := view{Now: time.Now()}
	v.Bound, v.Idle, v.Others = sorted(a.Slots())
	recent := a.Events.Recent()
	for i := len(recent) - 1; i >= max(0, len(recent)-eventsOnPage); i-- {
		v.Events = append(v.Events, recent[i])
	}
	if err := a.Ready(); err != nil {
		v.Ready = err.Error()
	}
	if a.Lacks != nil {
		v.Lacks = a.Lacks()
	}
	v.Levels = a.levels().String()
	var b bytes.Buffer
	if err := a.page.Execute(&b, v); err != nil {
		a.Log.Error("render page", "err", err)
		http.Error(w, "the page could not be rendered; see the agent's log", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the client has gone away if this fails
}
