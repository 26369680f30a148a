package guest_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"testing"

	"tapwatch/internal/sandbox/envd/guest"
)

// What the e2b package 2.51.0 sends for commands.run, byte for byte, and what
// it must get: its JSON, in Connect's envelopes.
func TestWireOfTheSDK(t *testing.T) {
	url, _ := daemon(t, guest.Config{})
	body := `{"process":{"cmd":"/bin/bash","args":["-l","-c","printf 42; exit 3"],"cwd":"/"},"stdin":false}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/process.Process/Start", bytes.NewReader(envelope(body)))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{
		"Content-Type": "application/connect+json", "Connect-Protocol-Version": "1",
		"Connect-Timeout-Ms": "60000", "Keepalive-Ping-Interval": "50",
	} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/connect+json" {
		t.Fatalf("answer %s %s", resp.Status, resp.Header)
	}
	want := []string{
		`{"event":{"start":{"pid":0}}}`,
		`{"event":{"data":{"stdout":"NDI="}}}`,
		`{"event":{"end":{"error":"exit status 3","exitCode":3,"exited":true,"status":"exit status 3"}}}`,
		`{}`,
	}
	for i, w := range want {
		flags, got := readEnvelope(t, resp.Body)
		if got != w || (flags == 2) != (i == len(want)-1) {
			t.Errorf("envelope %d: flags %d %s, want %s", i, flags, got, w)
		}
	}
}

func envelope(body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

// readEnvelope returns one message with its keys sorted and its pid made 0.
func readEnvelope(t *testing.T, r io.Reader) (flags byte, msg string) {
	t.Helper()
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(r, body); err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if event, ok := v["event"].(map[string]any); ok {
		if start, ok := event["start"].(map[string]any); ok {
			if pid, _ := start["pid"].(float64); pid < 2 {
				t.Errorf("pid %v", start["pid"])
			}
			start["pid"] = 0
		}
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return head[0], string(sorted)
}
