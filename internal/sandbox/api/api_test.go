package api_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tapwatch/internal/nettest"
	"tapwatch/internal/sandbox"
	"tapwatch/internal/sandbox/api"
)

// launcher serves the API of a real manager that has no templates and no
// sandboxes; what it launches is tested by test/e2b.
func launcher(t *testing.T, cfg api.Config) *httptest.Server {
	t.Helper()
	nettest.NeedRoot(t)
	log := slog.New(slog.DiscardHandler)
	m, err := sandbox.New(sandbox.Config{DataDir: t.TempDir(), RunDir: t.TempDir(), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Manager, cfg.Log = m, log
	h, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(h)
	t.Cleanup(func() {
		ts.Close()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return ts
}

// ask makes a request with a key and returns the status and the message.
func ask(t *testing.T, ts *httptest.Server, method, path, body string, edit func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, ts.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-KEY", "e2b_key")
	if edit != nil {
		edit(req)
	}
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode < 400 {
		return resp.StatusCode, string(b)
	}
	var p struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(b, &p); err != nil || p.Code != resp.StatusCode || p.Message == "" {
		t.Errorf("%s %s: body %s does not repeat %d", method, path, b, resp.StatusCode)
	}
	return resp.StatusCode, p.Message
}

func TestRefusals(t *testing.T) {
	ts := launcher(t, api.Config{})
	for name, tc := range map[string]struct {
		method, path, body string
		code               int
		says               string
	}{
		"no template":            {"POST", "/v2/sandboxes", `{}`, 400, "templateID"},
		"no body":                {"POST", "/sandboxes", ``, 400, "templateID"},
		"not JSON":               {"POST", "/sandboxes", `{`, 400, "read body"},
		"two values":             {"POST", "/sandboxes", `{"templateID":"x"} {}`, 400, "more than one"},
		"wrong type":             {"POST", "/sandboxes", `{"templateID":7}`, 400, "templateID: number does not fit"},
		"fraction":               {"POST", "/sandboxes", `{"templateID":"x","timeout":1.5}`, 400, "timeout: number 1.5 does not fit"},
		"timeout 0":              {"POST", "/sandboxes", `{"templateID":"x","timeout":0}`, 400, "timeout: 0 is not between 1 and 86400"},
		"timeout long":           {"POST", "/sandboxes", `{"templateID":"x","timeout":86401}`, 400, "timeout"},
		"env name":               {"POST", "/sandboxes", `{"templateID":"x","envVars":{"A=B":"1"}}`, 400, "envVars"},
		"pause":                  {"POST", "/sandboxes", `{"templateID":"x","autoPause":true}`, 400, "autoPause is not supported"},
		"volumes":                {"POST", "/sandboxes", `{"templateID":"x","volumeMounts":[{"name":"v"}]}`, 400, "volumeMounts is not supported"},
		"network":                {"POST", "/sandboxes", `{"templateID":"x","network":{"denyOut":["*"]}}`, 400, "network is not supported"},
		"large":                  {"POST", "/sandboxes", `{"templateID":"` + strings.Repeat("x", 1<<20) + `"}`, 400, "more than 1048576 bytes"},
		"unknown template":       {"POST", "/v2/sandboxes", `{"templateID":"nonesuch","newField":[1]}`, 404, "nonesuch"},
		"get unknown":            {"GET", "/sandboxes/nonesuch", ``, 404, "nonesuch"},
		"kill unknown":           {"DELETE", "/sandboxes/nonesuch", ``, 404, "nonesuch"},
		"connect unknown":        {"POST", "/v2/sandboxes/nonesuch/connect", `{"timeout":5}`, 404, "nonesuch"},
		"connect wrong":          {"POST", "/sandboxes/nonesuch/connect", `{"timeout":-1}`, 400, "timeout"},
		"timeout of unknown":     {"POST", "/sandboxes/nonesuch/timeout", `{"timeout":5}`, 404, "nonesuch"},
		"timeout missing":        {"POST", "/sandboxes/nonesuch/timeout", `{}`, 400, "timeout"},
		"timeout negative":       {"POST", "/sandboxes/nonesuch/timeout", `{"timeout":-1}`, 400, "timeout"},
		"metrics of unknown":     {"GET", "/sandboxes/nonesuch/metrics", ``, 404, "nonesuch"},
		"connections of unknown": {"GET", "/connections?sandbox=nonesuch", ``, 404, "nonesuch"},
		"connections of none":    {"GET", "/connections", ``, 200, "[]"},
		"console of unknown":     {"GET", "/sandboxes/nonesuch/console", ``, 404, "nonesuch"},
		"unsupported":            {"POST", "/sandboxes/nonesuch/pause", ``, 501, "pause"},
		"no such endpoint":       {"GET", "/nonesuch", ``, 404, "GET /nonesuch"},
		"no such method":         {"PUT", "/sandboxes", ``, 404, "PUT /sandboxes"},
		"list: limit":            {"GET", "/v2/sandboxes?limit=0", ``, 400, "limit"},
		"list: state":            {"GET", "/v2/sandboxes?state=running,odd", ``, 400, "odd"},
		"list: order":            {"GET", "/v2/sandboxes?order=up", ``, 400, "order"},
		"list: time":             {"GET", "/v2/sandboxes?startedAfter=now", ``, 400, "startedAfter"},
		"list: token":            {"GET", "/v2/sandboxes?nextToken=zz", ``, 400, "nextToken"},
		"list: metadata":         {"GET", "/v2/sandboxes?metadata=a%253Db%3D%2525", ``, 400, "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			code, says := ask(t, ts, tc.method, tc.path, tc.body, nil)
			if code != tc.code || !strings.Contains(says, tc.says) {
				t.Errorf("got %d %q, want %d %q", code, says, tc.code, tc.says)
			}
		})
	}
	for _, path := range []string{"/sandboxes", "/v2/sandboxes?state=running&limit=3"} {
		if code, body := ask(t, ts, "GET", path, "", nil); code != 200 || strings.TrimSpace(body) != "[]" {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		keys []string
		key  string
		want int
	}{
		"any key in development": {nil, "e2b_whatever", 200},
		"but not none":           {nil, "", 401},
		"one of them":            {[]string{"e2b_a", "e2b_b"}, "e2b_b", 200},
		"another":                {[]string{"e2b_a", "e2b_b"}, "e2b_c", 401},
		"part of one":            {[]string{"e2b_a"}, "e2b_", 401},
		"none":                   {[]string{"e2b_a"}, "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			ts := launcher(t, api.Config{Keys: tc.keys})
			set := func(r *http.Request) { r.Header.Set("X-API-KEY", tc.key) }
			if code, says := ask(t, ts, "GET", "/sandboxes", "", set); code != tc.want {
				t.Errorf("got %d %q, want %d", code, says, tc.want)
			}
			if code, _ := ask(t, ts, "GET", "/health", "", set); code != 200 {
				t.Errorf("health: %d", code)
			}
		})
	}
}

func TestHostAndOrigin(t *testing.T) {
	ts := launcher(t, api.Config{Domain: "Sandboxes.example"})
	for _, tc := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:3000", "", 200},
		{"[::1]:3000", "", 200},
		{"[::1]", "", 200},
		{"10.1.2.3", "", 200},
		{"localhost:3000", "", 200},
		{"LOCALHOST", "", 200},
		{"api.sandboxes.example", "", 200},
		{"sandboxes.example.:3000", "", 200},
		{"evil.example", "", 403},
		{"evilsandboxes.example", "", 403},
		{"localhost.evil.example:3000", "", 403},
		{"127.0.0.1.evil.example", "", 403},
		{"127.0.0.1", "http://localhost:8080", 200},
		{"127.0.0.1", "https://evil.example", 403},
		{"127.0.0.1", "null", 403},
		{"127.0.0.1:3000", "http://127.0.0.1:9", 200},
		{"10.1.2.3:3000", "http://10.1.2.3:3000", 200}, // the page that was asked for
		{"127.0.0.1", "http://10.1.2.3", 403},
		{"10.1.2.3", "http://10.1.2.4", 403},
		{"127.0.0.1", "https://[2001:db8::1]", 403},
		{"127.0.0.1", "https://sandboxes.example", 200},
		{"127.0.0.1", "https://8000-i123.sandboxes.example", 403}, // a guest's page
	} {
		code, says := ask(t, ts, "GET", "/sandboxes", "", func(r *http.Request) {
			r.Host = tc.host
			if tc.origin != "" {
				r.Header.Set("Origin", tc.origin)
			}
		})
		if code != tc.want {
			t.Errorf("host %s, origin %q: %d %q, want %d", tc.host, tc.origin, code, says, tc.want)
		}
	}
}

func TestConfig(t *testing.T) {
	if _, err := api.New(api.Config{}); err == nil || !strings.Contains(err.Error(), "no manager") {
		t.Errorf("no manager: %v", err)
	}
	if _, err := api.New(api.Config{Manager: &sandbox.Manager{}, Keys: []string{""}}); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("empty key: %v", err)
	}
}
