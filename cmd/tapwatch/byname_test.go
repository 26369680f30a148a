package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tapwatch/internal/sandbox/api"
)

// TestByName holds that an id wins over a name, that a name or a namespace will do, and
// that a name of two is refused. The API's own list and refusals have tests of theirs.
func TestByName(t *testing.T) {
	var list []api.Info
	for _, s := range [][3]string{{"i1", "web", "ns-1"}, {"i2", "db", "ns-2"}, {"i3", "db", "ns-3"}, {"i4", "i1", "ns-4"}} {
		var info api.Info
		info.ID, info.Tapwatch.Name, info.Tapwatch.Netns = s[0], s[1], s[2]
		list = append(list, info)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(list) }))
	defer server.Close()
	client := &api.Client{BaseURL: server.URL}
	for who, want := range map[string]string{"i1": "i1", "web": "i1", "ns-3": "i3", "i4": "i4"} {
		got := ""
		err := byName(t.Context(), client, who, func(id string) error {
			if !strings.HasPrefix(id, "i") {
				return &api.Error{Code: http.StatusNotFound, Message: "no sandbox " + id}
			}
			got = id
			return nil
		})
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", who, got, err, want)
		}
	}
	none := func(id string) error { return &api.Error{Code: http.StatusNotFound, Message: "no sandbox " + id} }
	if err := byName(t.Context(), client, "db", none); err == nil || !strings.Contains(err.Error(), "2 sandboxes are called db: name one by its id: i2, i3") {
		t.Errorf("a name of two: %v", err)
	}
	nameless := api.Info{}
	nameless.ID = "i5"
	list = append(list, nameless) // it has no name, and is not meant by a variable that is not set
	if err := byName(t.Context(), client, "", func(id string) error {
		if id != "" {
			t.Errorf("%s is taken for the sandbox of no name", id)
		}
		return none(id)
	}); !errors.As(err, new(usageError)) {
		t.Errorf("no name: %v", err)
	}
	if err := byName(t.Context(), client, "nobody", none); err == nil || err.Error() != "no sandbox nobody" {
		t.Errorf("nobody's name: %v", err)
	}
}
