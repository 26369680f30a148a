package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"tapwatch/agent/path"
)

// Client reads a running agent's API.
type Client struct {
	BaseURL string // e.g. http://127.0.0.1:10917
}

func (c Client) get(ctx context.Context, at string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.BaseURL+at, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err // the rest is said here
	}
	if err != nil {
		return nil, fmt.Errorf("ask the agent at %s (does tapwatch agent run there?): %w", c.BaseURL, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("ask the agent: %s: %s", c.BaseURL+at, resp.Status)
	}
	return resp, nil
}

// Paths returns the paths of all slots.
func (c Client) Paths(ctx context.Context) ([]path.Slot, error) {
	var body struct{ Paths []path.Slot }
	err := c.read(ctx, "/api/v1/paths", &body)
	for i := range body.Paths {
		if s := &body.Paths[i]; s.CloseLook == nil { // not of our agents
			s.CloseLook = &path.NotLooked
		}
	}
	return body.Paths, err
}

// Levels returns which checks are switched off or demoted.
func (c Client) Levels(ctx context.Context) (l path.Levels, err error) {
	err = c.read(ctx, "/api/v1/checks", &l)
	return l, err
}

// History returns what happened to the sandbox with this id or name; of several
// of one name that which is there, else the last that was.
func (c Client) History(ctx context.Context, who string) (path.History, error) {
	var body struct{ Sandboxes []path.Lived }
	if err := c.read(ctx, "/api/v1/sandboxes", &body); err != nil {
		return path.History{}, err
	}
	for _, s := range body.Sandboxes {
		if s.SandboxID == who || s.Name == who || s.Netns == who && s.Gone.IsZero() {
			var h path.History
			err := c.read(ctx, "/api/v1/sandboxes/"+url.PathEscape(s.SandboxID)+"/history", &h)
			return h, err
		}
	}
	// One that is gone for longer may be on disk.
	var h path.History
	if err := c.read(ctx, "/api/v1/sandboxes/"+url.PathEscape(who)+"/history", &h); err != nil {
		return path.History{}, fmt.Errorf("no sandbox %s is in the history that this agent keeps", who)
	}
	return h, nil
}

func (c Client) read(ctx context.Context, at string, v any) error {
	resp, err := c.get(ctx, at)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("read the agent's answer: %w", err)
	}
	return nil
}

// Which events a client wants.
type Which int

// The events that a client can want: those that the agent has kept, those that come, or
// one after the other.
const (
	KeptAndNew Which = iota
	OnlyNew
	OnlyKept
)

// Events calls fn for each event, with the line of JSON that it came as, until
// the context or the stream ends, or the kept ones do where only they are wanted.
func (c Client) Events(ctx context.Context, which Which, fn func(e path.Event, raw string)) error {
	at := "/api/v1/events"
	if which == OnlyNew {
		at += "?recent=0"
	}
	resp, err := c.get(ctx, at)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	kind := ""
	for lines.Scan() {
		if k, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			kind = k
		}
		if which == OnlyKept && lines.Text() == connected {
			return nil
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || kind == "lost" {
			continue
		}
		var e path.Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read event: %w", err)
		}
		fn(e, data)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return fmt.Errorf("the agent at %s ended the stream", c.BaseURL)
}
