package api_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"tapwatch/internal/sandbox/api"
)

func TestClient(t *testing.T) {
	ts := launcher(t, api.Config{Keys: []string{"k"}})
	c := api.Client{BaseURL: ts.URL + "/", Key: "k", HTTP: ts.Client()}
	if list, err := c.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
	_, createErr := c.Create(t.Context(), api.CreateOptions{Template: "nonesuch", Timeout: 5})
	_, getErr := c.Get(t.Context(), "nonesuch")
	for name, err := range map[string]error{
		"create sandbox": createErr,
		"get sandbox":    getErr,
		"kill sandbox":   c.Kill(t.Context(), "nonesuch"),
		"read console":   c.Console(t.Context(), "nonesuch", true, io.Discard),
	} {
		var refused *api.Error
		if !errors.As(err, &refused) || refused.Code != http.StatusNotFound ||
			strings.Count(err.Error(), name) != 1 || !strings.Contains(err.Error(), "nonesuch") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.Key = "another"
	var refused *api.Error
	if _, err := c.List(t.Context()); !errors.As(err, &refused) || refused.Code != http.StatusUnauthorized {
		t.Errorf("another key: %v", err)
	}
}

func TestClientWithoutLauncher(t *testing.T) {
	ts := launcher(t, api.Config{})
	c := api.Client{BaseURL: ts.URL, Key: "k"}
	ts.Close()
	_, err := c.List(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no launcher at "+ts.URL) {
		t.Errorf("got %v", err)
	}
}
