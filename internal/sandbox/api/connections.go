package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"tapwatch/internal/sandbox/conns"
)

// connections tells the proxy's and the relay's connections to the sandboxes, or to the one named
// by ?sandbox=. It is ours alone.
func (s *server) connections(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("sandbox")
	if id != "" {
		if _, err := s.cfg.Manager.Get(id); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	answer(w, http.StatusOK, s.cfg.Manager.Connections(id))
}

// Connections returns what each layer has counted of one sandbox, or with "" of all
// that it knows, with the connections that are open.
func (c *Client) Connections(ctx context.Context, id string) ([]conns.Stats, error) {
	path := "/connections"
	if id != "" {
		path += "?sandbox=" + url.QueryEscape(id)
	}
	var got []conns.Stats
	if err := c.call(ctx, http.MethodGet, path, nil, &got); err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	return got, nil
}
