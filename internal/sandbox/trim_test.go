package sandbox

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tapwatch/internal/sandbox/envd"
)

// A console that grows over its limit keeps its end, and its writer goes on
// behind that: QEMU opens it to append.
func TestTrim(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	if err := trim(file, 100, 10); err != nil {
		t.Error("no log:", err)
	}
	vmm, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer vmm.Close()
	write := func(s string) {
		t.Helper()
		if _, err := vmm.WriteString(s); err != nil {
			t.Fatal(err)
		}
	}
	want := func(s string) {
		t.Helper()
		if err := trim(file, 100, 10); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil || string(got) != s {
			t.Errorf("the log is %q, %v, want %q", got, err, s)
		}
	}
	write(strings.Repeat("x", 100))
	want(strings.Repeat("x", 100))
	write("0123456789")
	cut := "[tapwatch: 100 bytes of console were cut here]\n0123456789"
	want(cut)
	write("more")
	want(cut + "more")
}

// A guest that fills its console does not fill the host.
func TestConsoleIsBounded(t *testing.T) {
	m := newManager(t, Config{})
	url := serveProxy(t, m)
	s := create(t, m, CreateRequest{Template: "base"})
	c := envd.Client{BaseURL: url, Header: http.Header{"E2b-Sandbox-Id": {s.ID}}}
	spam := "yes 'nothing to say' | head -c 1100000 >/dev/ttyS0; echo 'the end' >/dev/ttyS0"
	code, err := c.Exec(t.Context(), envd.ExecRequest{Cmd: "sh", Args: []string{"-c", spam}, User: "root"}, io.Discard, io.Discard)
	if code != 0 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	eventually(t, "the console is cut", func() bool {
		info, err := os.Stat(s.Console)
		return err == nil && info.Size() < consoleLimit
	})
	// What was written last may still be on its way through the serial port.
	eventually(t, "the console ends with what was written last", func() bool { return strings.HasSuffix(lastLines(s.Console, 1), "the end") })
}
