package monitoring

import (
	"bytes"
	"encoding/json"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDrillWaitsForItsAlert drills one fault as an operator does who wants to see
// the alert too: by the shipped rules, through Prometheus and Alertmanager.
func TestDrillWaitsForItsAlert(t *testing.T) {
	_, url := startWebhook(t)
	alertmanager := startAlertmanager(t, url)
	agent := freeAddress(t)
	startPrometheus(t, agent, alertmanager)
	binary, templates, run := absolute(t, "../../bin/tapwatch"), sharedTemplates(t), t.TempDir()
	var out, says bytes.Buffer
	drill := exec.CommandContext(t.Context(), binary, "drill", "vmm-killed", "-o", "json", "--alertmanager", "http://"+alertmanager, "--listen", agent,
		"--run-dir", run, "--data-dir", templates, "--first-slot", "9320", "--patience", "1m")
	drill.Stdout, drill.Stderr = &out, &says
	if err := drill.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), says.String())
	}
	var results []struct {
		Fault, Named, Alert string
		Right               bool
		AlertSeconds        float64 `json:"alert_seconds"`
	}
	if err := json.Unmarshal(out.Bytes(), &results); err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || !results[0].Right || results[0].Alert != "TapwatchNoCarrier" || results[0].AlertSeconds <= 0 {
		t.Errorf("%+v\n%s", results, says.String())
	}
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}
