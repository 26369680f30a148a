package envd_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"tapwatch/internal/e2b"
	"tapwatch/internal/sandbox/envd"
	"tapwatch/internal/sandbox/envd/guest"
)

// sandbox serves the real daemon on loopback and returns its client.
func sandbox(t *testing.T) *envd.Client {
	t.Helper()
	g := guest.New(guest.Config{})
	ts := httptest.NewServer(g)
	t.Cleanup(func() {
		g.Close()
		ts.Close()
	})
	return &envd.Client{BaseURL: ts.URL, HTTP: ts.Client()}
}

func TestExec(t *testing.T) {
	c := sandbox(t)
	for name, tc := range map[string]struct {
		req            envd.ExecRequest
		code           int
		stdout, stderr string
	}{
		"output":  {envd.ExecRequest{Cmd: "python3", Args: []string{"-c", "print(6*7)"}, Cwd: "/"}, 0, "42\n", ""},
		"code":    {envd.ExecRequest{Cmd: "sh", Args: []string{"-c", "echo no >&2; exit 9"}, Cwd: "/"}, 9, "", "no\n"},
		"env":     {envd.ExecRequest{Cmd: "sh", Args: []string{"-c", "echo $A $PWD"}, Env: map[string]string{"A": "b"}, Cwd: "/usr"}, 0, "b /usr\n", ""},
		"stdin":   {envd.ExecRequest{Cmd: "wc", Args: []string{"-c"}, Cwd: "/", Stdin: strings.NewReader(strings.Repeat("x", 100_000))}, 0, "100000\n", ""},
		"noStdin": {envd.ExecRequest{Cmd: "cat", Cwd: "/"}, 0, "", ""},
		"unread":  {envd.ExecRequest{Cmd: "true", Cwd: "/", Stdin: strings.NewReader(strings.Repeat("x", 1<<20))}, 0, "", ""},
		"quotes":  {envd.ExecRequest{Cmd: "printf", Args: []string{"%s|", "a b", "$HOME", "*"}, Cwd: "/"}, 0, "a b|$HOME|*|", ""},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code, err := c.Exec(t.Context(), tc.req, &stdout, &stderr)
			if err != nil || code != tc.code || stdout.String() != tc.stdout || stderr.String() != tc.stderr {
				t.Errorf("got %d %q %q %v", code, &stdout, &stderr, err)
			}
		})
	}
}

func TestExecErrors(t *testing.T) {
	c := sandbox(t)
	for name, tc := range map[string]struct {
		req  envd.ExecRequest
		says string
	}{
		"unknown command": {envd.ExecRequest{Cmd: "nonesuch", Cwd: "/"}, "executable file not found"},
		"unknown user":    {envd.ExecRequest{Cmd: "true", User: "nonesuch"}, "invalid username: 'nonesuch'"},
		"killed":          {envd.ExecRequest{Cmd: "sh", Args: []string{"-c", "kill -9 $$"}, Cwd: "/"}, "signal: killed"},
	} {
		t.Run(name, func(t *testing.T) {
			code, err := c.Exec(t.Context(), tc.req, io.Discard, io.Discard)
			if err == nil || code != -1 || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), tc.req.Cmd) {
				t.Errorf("got %d, %v, want %q", code, err, tc.says)
			}
		})
	}
}

// A caller that gives up must not leave its command behind.
func TestExecCanceled(t *testing.T) {
	c := sandbox(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = r.Read(make([]byte, 32)) // it runs
		cancel()
		r.Close()
	}()
	_, err := c.Exec(ctx, envd.ExecRequest{Cmd: "sh", Args: []string{"-c", "echo $$; exec sleep 1000"}, Cwd: "/"}, w, io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	var out bytes.Buffer
	for range 100 {
		out.Reset()
		if _, err := c.Exec(t.Context(), envd.ExecRequest{Cmd: "sh", Args: []string{"-c", "pgrep -P $PPID -x sleep"}, Cwd: "/"}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if out.Len() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("still there: %s", &out)
}

func TestInitThenToken(t *testing.T) {
	c := sandbox(t)
	if err := c.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Init(t.Context(), envd.InitRequest{AccessToken: "a", EnvVars: map[string]string{"K": "v"}}); err != nil {
		t.Fatal(err)
	}
	var status *envd.StatusError
	if err := c.Init(t.Context(), envd.InitRequest{}); !errors.As(err, &status) || status.Code != http.StatusUnauthorized {
		t.Errorf("init without token: %v", err)
	}
	run := envd.ExecRequest{Cmd: "sh", Args: []string{"-c", "echo $K"}, Cwd: "/"}
	if _, err := c.Exec(t.Context(), run, io.Discard, io.Discard); err == nil {
		t.Error("exec without token works")
	}
	c.Header = http.Header{e2b.HeaderAccessToken: {"a"}}
	var out bytes.Buffer
	if _, err := c.Exec(t.Context(), run, &out, os.Stderr); err != nil || out.String() != "v\n" {
		t.Errorf("exec with token: %q, %v", &out, err)
	}
}

// What a proxy says about a broken path must reach the user.
func TestProxyError(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, `{"sandboxId":"x","message":"the sandbox is not reachable","code":502,"port":49983}`)
	}))
	defer ts.Close()
	c := &envd.Client{BaseURL: ts.URL}
	_, execErr := c.Exec(t.Context(), envd.ExecRequest{Cmd: "true"}, io.Discard, io.Discard)
	for _, err := range []error{c.Health(t.Context()), c.Init(t.Context(), envd.InitRequest{}), execErr} {
		var status *envd.StatusError
		if !errors.As(err, &status) || status.Code != 502 || status.Message != "the sandbox is not reachable" {
			t.Errorf("got %v", err)
		}
	}
}
