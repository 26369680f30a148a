package main

import (
	"strings"
	"testing"
	"time"

	"tapwatch/internal/sandbox/conns"
)

func TestPrintConnections(t *testing.T) {
	now := time.Unix(1000, 0)
	rtt, connect, first, none := int64(120), int64(80), int64(2500), int64(0)
	var got strings.Builder
	err := printConnections(&got, []conns.Stats{
		{SandboxID: "i1", Layer: conns.Proxy, Opened: 3, Sent: 10, Received: 20, Ended: map[string]int64{"cut": 1, "backend-ended": 1}, Open: []conns.Connection{
			{Client: "a:1", Remote: "b:2", Opened: now.Add(-time.Minute), ConnectUS: &connect, FirstByteUS: &first, Sent: 4, Received: 5, RTTUS: &rtt, Retransmits: &none},
		}},
		{SandboxID: "i2", Layer: conns.Relay, DialErrors: map[string]int64{"ECONNREFUSED": 2}, Open: []conns.Connection{{Client: "a:3", Remote: "b:4", Opened: now}}},
	}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SANDBOX LAYER CLIENT REMOTE AGE SENT RECEIVED CONNECT FIRST BYTE RTT RETRANSMITS",
		"i1 proxy a:1 b:2 1m0s 4 5 80µs 2.5ms 120µs 0",
		"i2 relay a:3 b:4 0s 0 0 - - - -",
		"",
		"SANDBOX LAYER OPENED OPEN SENT RECEIVED ENDED DIAL ERRORS",
		"i1 proxy 3 1 10 20 backend-ended 1, cut 1 -",
		"i2 relay 0 1 0 0 - ECONNREFUSED 2",
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
