package main

import (
	"strings"
	"testing"
	"time"

	"tapwatch/internal/sandbox/proxy"
)

func TestPrintConnections(t *testing.T) {
	now := time.Unix(1000, 0)
	rtt, connect, first, none := int64(120), int64(80), int64(2500), int64(0)
	var got strings.Builder
	err := printConnections(&got, []proxy.Stats{
		{SandboxID: "i1", Opened: 3, Sent: 10, Received: 20, Ended: map[string]int64{"cut": 1, "backend-ended": 1}, Open: []proxy.Connection{
			{Client: "a:1", Remote: "b:2", Opened: now.Add(-time.Minute), ConnectUS: &connect, FirstByteUS: &first, Sent: 4, Received: 5, RTTUS: &rtt, Retransmits: &none},
		}},
		{SandboxID: "i2", DialErrors: map[string]int64{"ECONNREFUSED": 2}, Open: []proxy.Connection{{Client: "a:3", Remote: "b:4", Opened: now}}},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SANDBOX CLIENT REMOTE AGE SENT RECEIVED CONNECT FIRST BYTE RTT RETRANSMITS",
		"i1 a:1 b:2 1m0s 4 5 80µs 2.5ms 120µs 0",
		"i2 a:3 b:4 0s 0 0 - - - -",
		"",
		"SANDBOX OPENED OPEN SENT RECEIVED ENDED DIAL ERRORS",
		"i1 3 1 10 20 backend-ended 1, cut 1 -",
		"i2 0 1 0 0 - ECONNREFUSED 2",
		"",
	}
	lines := strings.Split(got.String(), "\n")
	for i := range lines {
		lines[i] = strings.Join(strings.Fields(lines[i]), " ")
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got.String())
	}
}
