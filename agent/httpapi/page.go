package httpapi

import (
	"embed"
	"encoding/json"
	"net/http"
)

//go:embed ui
var ui embed.FS

// policy lets the page load nothing from elsewhere, and nobody frame it. Its icon is
// drawn by its script.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// static serves the page's script and style sheet. They change with the program only,
// which may be replaced while a page is open.
func static() http.Handler {
	files := http.FileServerFS(ui)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		files.ServeHTTP(w, r)
	})
}

// index is the page: the sandboxes, or the one that the query names. It reads
// /api/v1/live.
func (a *api) index(w http.ResponseWriter, r *http.Request) {
	secure(w)
	http.ServeFileFS(w, r, ui, "ui/page.html")
}

// secure sets the headers of everything that a browser shows as a page.
func secure(w http.ResponseWriter) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("Referrer-Policy", "same-origin")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
}

// head is what the page says of the host, as JSON.
func (a *api) head() []byte {
	h := head{Host: a.Host, Version: a.Version, Since: a.began, Levels: a.levels().String()}
	if err := a.Ready(); err != nil {
		h.Ready = err.Error()
	}
	if a.Lacks != nil {
		h.Lacks = a.Lacks()
	}
	text, _ := json.Marshal(h) // it always marshals
	return text
}
