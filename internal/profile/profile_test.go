package profile

import (
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What is sent is what a Pyroscope server takes: named after the service, with a
// gzipped pprof profile in a multipart body.
func TestProfilesAreSent(t *testing.T) {
	type upload struct {
		path, name string
		gzipped    bool
	}
	got := make(chan upload, 64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := upload{path: r.URL.Path, name: r.URL.Query().Get("name")}
		_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err == nil {
			parts := multipart.NewReader(r.Body, params["boundary"])
			for p, err := parts.NextPart(); err == nil; p, err = parts.NextPart() {
				magic := make([]byte, 2)
				if _, err := p.Read(magic); err == nil && p.FormName() == "profile" {
					u.gzipped = magic[0] == 0x1f && magic[1] == 0x8b
				}
			}
		}
		select {
		case got <- u:
		default:
		}
	}))
	defer srv.Close()
	stop, err := Start(srv.URL, "tapwatch.test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	stop() // sends what it has
	select {
	case u := <-got:
		if u.path != "/ingest" || !strings.HasPrefix(u.name, "tapwatch.test") || !u.gzipped {
			t.Errorf("sent %+v, want a gzipped profile of tapwatch.test to /ingest", u)
		}
	case <-time.After(time.Minute):
		t.Error("nothing was sent")
	}
}

func TestStart(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		wrong      bool
	}{
		{"none asked for", "", false},
		{"no URL", "nowhere", true},
		{"no host", "http://", true},
		{"a server that is not there", "http://127.0.0.1:1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stop, err := Start(tt.addr, "tapwatch.test", slog.New(slog.DiscardHandler))
			if (err != nil) != tt.wrong {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				stop()
			}
		})
	}
}
