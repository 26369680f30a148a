package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tapwatch/internal/e2b"
)

// Client talks to a control API, ours or E2B's. It may be used by many at once.
type Client struct {
	BaseURL string       // e.g. "http://127.0.0.1:3000"
	Key     string       // sent as X-API-KEY
	HTTP    *http.Client // nil: http.DefaultClient. Creating takes as long as booting
}

// CreateOptions say what to launch. Of the last three E2B knows nothing.
type CreateOptions struct {
	Template string            `json:"templateID"`
	Timeout  int               `json:"timeout"` // seconds that it lives
	Metadata map[string]string `json:"metadata,omitempty"`
	EnvVars  map[string]string `json:"envVars,omitempty"`
	Tapwatch Local             `json:"tapwatch"`
}

// Local is what a launcher of ours can do besides.
type Local struct {
	Name  string `json:"name,omitempty"`  // a label for people
	NoNIC bool   `json:"noNIC,omitempty"` // a drill: start the VMM without its NIC
	Path  string `json:"path,omitempty"`  // relay, fused or dnat; empty: the launcher's
	Keep  bool   `json:"keep,omitempty"`  // keep a sandbox whose envd never answers, as failed
}

// Info is a sandbox as the API shows it.
type Info struct {
	ID          string            `json:"sandboxID"`
	TemplateID  string            `json:"templateID"`
	Alias       string            `json:"alias"`
	State       string            `json:"state"` // running, booting, failed
	StartedAt   time.Time         `json:"startedAt"`
	EndAt       time.Time         `json:"endAt"`
	Metadata    map[string]string `json:"metadata"`
	AccessToken string            `json:"envdAccessToken"` // only where one sandbox was asked for
	Tapwatch    struct {
		Name   string `json:"name"`
		Reason string `json:"reason"`
		Path   string `json:"path"`
		Netns  string `json:"netns"`
		Tap    string `json:"tap"`
	} `json:"tapwatch"`
}

// Error is a refusal.
type Error struct {
	Code    int // HTTP status
	Message string
}

func (e *Error) Error() string { return e.Message }

// Create launches a sandbox and returns its id once it serves.
func (c *Client) Create(ctx context.Context, o CreateOptions) (id string, err error) {
	var got created
	if err := c.call(ctx, http.MethodPost, "/v2/sandboxes", o, &got); err != nil {
		if strings.HasPrefix(err.Error(), "create sandbox") { // the launcher's own words
			return "", err
		}
		return "", fmt.Errorf("create sandbox: %w", err)
	}
	return got.SandboxID, nil
}

// Get returns one sandbox.
func (c *Client) Get(ctx context.Context, id string) (Info, error) {
	var got Info
	if err := c.call(ctx, http.MethodGet, "/sandboxes/"+url.PathEscape(id), nil, &got); err != nil {
		return Info{}, fmt.Errorf("get sandbox: %w", err)
	}
	return got, nil
}

// List returns all sandboxes, the newest first.
func (c *Client) List(ctx context.Context) ([]Info, error) {
	var got []Info
	if err := c.call(ctx, http.MethodGet, "/sandboxes", nil, &got); err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	return got, nil
}

// Kill ends a sandbox and returns when nothing is left of it.
func (c *Client) Kill(ctx context.Context, id string) error {
	if err := c.call(ctx, http.MethodDelete, "/sandboxes/"+url.PathEscape(id), nil, nil); err != nil {
		return fmt.Errorf("kill sandbox: %w", err)
	}
	return nil
}

// Console copies the guest's serial console: what is there, and with follow
// what comes, until ctx or the sandbox ends.
func (c *Client) Console(ctx context.Context, id string, follow bool, to io.Writer) error {
	path := "/sandboxes/" + url.PathEscape(id) + "/console"
	if follow {
		path += "?follow=true"
	}
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return fmt.Errorf("read console: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(to, resp.Body); err != nil {
		return fmt.Errorf("read console: %w", err)
	}
	return nil
}

// call sends and receives JSON; nil is no body.
func (c *Client) call(ctx context.Context, method, path string, send, receive any) error {
	resp, err := c.do(ctx, method, path, send)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if receive == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(receive)
}

// do makes one request; a refusal is an *Error.
func (c *Client) do(ctx context.Context, method, path string, send any) (*http.Response, error) {
	var body bytes.Buffer
	if send != nil {
		if err := json.NewEncoder(&body).Encode(send); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.BaseURL, "/")+path, &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set(e2b.HeaderAPIKey, c.Key)
	req.Header.Set("Content-Type", "application/json")
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	resp, err := h.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no launcher at %s (is `tapwatch up` or `tapwatch serve` running?): %w", c.BaseURL, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, refusal(resp)
	}
	return resp, nil
}

func refusal(resp *http.Response) *Error {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // part of the reason is better than none
	var p problem
	if json.Unmarshal(b, &p) != nil || p.Message == "" {
		p.Message = resp.Status + " " + strings.TrimSpace(string(b))
	}
	return &Error{resp.StatusCode, p.Message}
}
