// Package envd is the host's client of the daemon in a sandbox: ours (the
// folder guest) or E2B's own, which speak the same protocol.
package envd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"time"
)

// maxReply bounds what is read of an answer that is no stream, in bytes.
const maxReply = 64 << 10

// Client talks to one sandbox's daemon, directly or through the proxy. It may
// be used by many at once.
type Client struct {
	BaseURL string       // e.g. "http://169.254.0.21:49983"
	Header  http.Header  // sent with every request: the access token, the proxy's routing headers
	HTTP    *http.Client // nil: http.DefaultClient. A Timeout in it would cut streams: bound the context instead
}

// StatusError is an answer other than the one hoped for, from the daemon or
// from a proxy on the way.
type StatusError struct {
	Code    int    // HTTP status
	Message string // the body's own words, or the body
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%d %s", e.Code, http.StatusText(e.Code))
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// InitRequest is what the daemon is told once it is up. Empty fields leave the
// daemon's setting as it is.
type InitRequest struct {
	EnvVars        map[string]string `json:"envVars,omitempty"`
	AccessToken    string            `json:"accessToken,omitempty"`
	Timestamp      time.Time         `json:"timestamp,omitzero"` // the host's time: the guest's clock is set to it
	DefaultUser    string            `json:"defaultUser,omitempty"`
	DefaultWorkdir string            `json:"defaultWorkdir,omitempty"`
}

// Health asks once whether the daemon serves. An answer that is not its own is
// a *StatusError.
func (c *Client) Health(ctx context.Context) error {
	if err := c.call(ctx, http.MethodGet, "/health", nil); err != nil {
		return fmt.Errorf("envd health: %w", err)
	}
	return nil
}

// Init gives the daemon its settings.
func (c *Client) Init(ctx context.Context, req InitRequest) error {
	body, err := json.Marshal(req)
	if err == nil {
		err = c.call(ctx, http.MethodPost, "/init", body)
	}
	if err != nil {
		return fmt.Errorf("envd init: %w", err)
	}
	return nil
}

// Metrics is what the sandbox uses, as it sees it itself; sizes are in bytes.
type Metrics struct {
	TS         int64   `json:"ts"` // Unix seconds
	CPUCount   int     `json:"cpu_count"`
	CPUUsedPct float64 `json:"cpu_used_pct"`
	MemTotal   uint64  `json:"mem_total"`
	MemUsed    uint64  `json:"mem_used"`
	MemCache   uint64  `json:"mem_cache"`
	DiskUsed   uint64  `json:"disk_used"`
	DiskTotal  uint64  `json:"disk_total"`
}

// Metrics asks the daemon what the sandbox uses.
func (c *Client) Metrics(ctx context.Context) (Metrics, error) {
	var m Metrics
	resp, err := c.do(ctx, http.MethodGet, "/metrics", nil, http.StatusOK)
	if err == nil {
		err = json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&m)
		resp.Body.Close()
	}
	if err != nil {
		return Metrics{}, fmt.Errorf("envd metrics: %w", err)
	}
	return m, nil
}

// call expects an answer without a body.
func (c *Client) call(ctx context.Context, method, path string, body []byte) error {
	resp, err := c.do(ctx, method, path, body, http.StatusNoContent)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do makes one request; any status but the one wanted is a *StatusError.
func (c *Client) do(ctx context.Context, method, path string, body []byte, want int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.BaseURL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, c.Header)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client().Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		defer resp.Body.Close()
		return nil, statusError(resp)
	}
	return resp, nil
}

// client follows no redirect: a guest would choose where this host sends requests
// to, and with them the access token and the variables of Init.
func (c *Client) client() *http.Client {
	var h http.Client
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
}

// statusError reads why an answer is none; both the daemon and the proxy say it
// in a JSON field.
func statusError(resp *http.Response) *StatusError {
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxReply)) // part of the reason is better than none
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(b, &said) != nil || said.Message == "" {
		said.Message = strings.TrimSpace(string(b))
	}
	return &StatusError{Code: resp.StatusCode, Message: said.Message}
}
