package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"

	"tapwatch/internal/nettest"
	"tapwatch/internal/proc"
	"tapwatch/internal/registry"
)

// run executes a command until stop is called or it ends; said holds what it printed.
func run(t *testing.T, c *cobra.Command, args ...string) (said *lines, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	said = &lines{ready: make(chan struct{}, 1)}
	c.SetArgs(args)
	c.SetOut(said)
	c.SetErr(said)
	c.SilenceErrors, c.SilenceUsage = true, true
	done := make(chan error, 1)
	go func() { done <- c.ExecuteContext(ctx); said.announce() }()
	t.Cleanup(cancel)
	return said, func() error { cancel(); return <-done }
}

// lines is a writer that announces what is written.
type lines struct {
	bytes.Buffer
	ready chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	n, err := l.Buffer.Write(b)
	l.announce()
	return n, err
}

func (l *lines) announce() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

func TestRelayCommand(t *testing.T) {
	ns := nettest.Netns(t)
	var backend net.Listener
	nettest.In(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		backend, err = net.Listen("tcp4", "127.0.0.1:0")
		return err
	})
	defer backend.Close()
	go func() {
		if c, err := backend.Accept(); err == nil {
			_, _ = io.WriteString(c, "hello") // the client judges
			c.Close()
		}
	}()
	metricsAddr := freeAddr(t)
	said, stop := run(t, relayCommand(), "--netns", ns, "--listen", "127.0.0.1:0", "--to", backend.Addr().String(), "--metrics-listen", metricsAddr)
	<-said.ready
	words := strings.Fields(said.String()) // relaying ADDRESS in ...
	if len(words) < 2 || words[0] != "relaying" {
		t.Fatal(said.String(), stop())
	}
	nettest.In(t, ns, func() error {
		c, err := net.DialTimeout("tcp4", words[1], 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		got, err := io.ReadAll(c)
		if string(got) != "hello" {
			t.Errorf("got %q", got)
		}
		return err
	})
	wantSample(t, metricsAddr, fmt.Sprintf(`tapwatch_layer_connections_opened_total{layer="relay",sandbox_id=%q} 1`, ns))
	_, second := run(t, relayCommand(), "--netns", ns, "--listen", words[1], "--to", "127.0.0.1:1")
	if err := second(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Error("address taken:", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// freeAddr is where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// wantSample asks for metrics, among which a line must be.
func wantSample(t *testing.T, addr, want string) {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); !strings.Contains(string(got), want) || err != nil {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

func TestRelayCommandErrors(t *testing.T) {
	nettest.NeedRoot(t)
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such namespace": {[]string{"--netns", "twtest-none", "--listen", "127.0.0.1:1", "--to", "127.0.0.1:2"}, "no such network namespace: twtest-none"},
		"no port":           {[]string{"--netns", "x", "--listen", "127.0.0.1", "--to", "127.0.0.1:2"}, `--listen "127.0.0.1": must be ADDRESS:PORT`},
		"IPv6":              {[]string{"--netns", "x", "--listen", "127.0.0.1:1", "--to", "[::1]:2"}, "must be an IPv4 address"},
		"nothing given":     {nil, "nothing to relay"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stop := run(t, relayCommand(), c.args...)
			err := stop()
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// The proxy that stands alone finds a sandbox by its record.
func TestProxyCommand(t *testing.T) {
	backend, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })}
	go func() { _ = srv.Serve(backend) }() // ends with Close
	defer srv.Close()
	_, port, _ := net.SplitHostPort(backend.Addr().String())
	runDir := t.TempDir()
	if err := registry.Dir(runDir).Put(registry.Slot{Index: 1, VpeerIP: "127.0.0.1", Sandbox: &registry.Sandbox{ID: "iabc"}}); err != nil {
		t.Fatal(err)
	}
	metricsAddr := freeAddr(t)
	said, stop := run(t, proxyCommand(), "--listen", "127.0.0.1:0", "--run-dir", runDir, "--metrics-listen", metricsAddr)
	<-said.ready
	addr := strings.TrimSpace(strings.TrimPrefix(said.String(), "proxy listens on "))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("E2b-Sandbox-Id", "iabc")
	req.Header.Set("E2b-Sandbox-Port", port)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(got) != "hello" || err != nil {
		t.Errorf("%s %q, %v", resp.Status, got, err)
	}
	wantSample(t, metricsAddr, `tapwatch_layer_connections_opened_total{layer="proxy",sandbox_id="iabc"} 1`)
	_, second := run(t, proxyCommand(), "--listen", addr, "--run-dir", runDir)
	if err := second(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Error("port taken:", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// notLeft is what a cleanup said but for what it left: other tests' agents live.
func notLeft(said *lines) (s string) {
	for line := range strings.Lines(said.String()) {
		// Hooks of others' dead agents, of tests that were killed, are removed by the way.
		if !strings.HasPrefix(line, "left ") && !strings.Contains(line, "of dead agents") {
			s += line
		}
	}
	return s
}

func TestCleanupCommand(t *testing.T) {
	nettest.NeedRoot(t)
	runDir := t.TempDir()
	dir := registry.Dir(runDir)
	if err := dir.Put(registry.Slot{Index: 32767, Netns: "ns-32767", Owner: proc.Process{PID: 1, Start: 1}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"removed record of slot 32767, whose launcher 1 is gone\n", "nothing to do\n"} {
		said, stop := run(t, cleanupCommand(), "--run-dir", runDir)
		if err := stop(); err != nil || notLeft(said) != want {
			t.Errorf("said %q, %v, want %q", said, err, want)
		}
	}
	if err := os.MkdirAll(dir.SlotsDir(), 0o755); err != nil { // it went with its last record
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir.SlotsDir(), strconv.Itoa(1)+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop := run(t, cleanupCommand(), "--run-dir", runDir)
	if err := stop(); err == nil || !strings.Contains(err.Error(), "1.json") {
		t.Error("damaged record:", err)
	}
}
