package main

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"tapwatch/internal/proctest"
)

// TestMCP has the SDK's own client talk to the command, on standard input and output and
// by HTTP, where foreign names and other sites' pages are refused.
func TestMCP(t *testing.T) {
	url, _ := serveFleet(t, 3)
	p := proctest.StartCmd(t, exec.CommandContext(t.Context(), "tapwatch", "mcp", "--agent-url", url, "--listen", "127.0.0.1:0"))
	at := p.WaitFor(t, 0, `mcp: (http://[0-9.:]+/)`).Groups[1]
	for name, transport := range map[string]mcp.Transport{
		"stdio": &mcp.CommandTransport{Command: exec.CommandContext(t.Context(), "tapwatch", "mcp", "--agent-url", url)},
		"HTTP":  &mcp.StreamableClientTransport{Endpoint: at},
	} {
		s, err := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil).Connect(t.Context(), transport, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "diagnose", Arguments: map[string]any{"sandbox": "i00001"}})
		if err != nil || r.IsError || !strings.Contains(r.Content[0].(*mcp.TextContent).Text, "vmm-exited") {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
		if err := s.Close(); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
	}
	for what, change := range map[string]func(*http.Request){
		"a foreign name":      func(r *http.Request) { r.Host = "evil.example" },
		"another site's page": func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"ping"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json, text/event-stream")
		change(r)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s", what, resp.Status)
		}
	}
}
