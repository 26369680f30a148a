package main

import (
	"testing"
	"time"

	"tapwatch/agent"
)

func TestHopTimes(t *testing.T) {
	if got := hopTimes(nil); got != "" {
		t.Errorf("%q of what is not known", got)
	}
	got := hopTimes([]agent.HopTime{{Hop: "proxy", Requests: 3, Median: 130 * time.Microsecond}, {Hop: "envd", Requests: 3, Median: 6905339 * time.Nanosecond}})
	if want := "\nwhere the time of a request goes (medians): proxy 130µs, envd 6.905ms\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
