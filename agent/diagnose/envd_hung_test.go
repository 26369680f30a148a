package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

func silentEnvd(f *path.Facts) {
	f.Health = path.Health{Time: secondsAgo(3), Connected: true, TimedOut: true, Error: "no answer in 5s"}
}

func TestEnvdHung(t *testing.T) {
	answers := func(code int) func(*path.Facts) {
		return func(f *path.Facts) { f.Health = path.Health{Time: secondsAgo(3), Connected: true, Code: code} }
	}
	tryCheck(t, envdHung, []look{
		{"nobody asks", healthy(), "beside", nil},
		{"healthy", changed(answers(204)), "ok", []string{"healthy (204) 3s ago"}},
		{"ill", changed(answers(500)), "problem", []string{"with 500"}},
		{"silent", changed(silentEnvd), "problem", []string{"envd hangs", "http://169.254.0.21:49983/health from inside ns-7, 3s ago: no answer in 5s"}},
		{"silent, and a request was answered before", changed(silentEnvd, requests(path.Asked{}, path.Asked{Good: secondsAgo(9)})), "problem", nil},
		{"silent, and a request was answered later", changed(silentEnvd, requests(path.Asked{}, path.Asked{Good: secondsAgo(1)})), "ok", []string{"answered a request 1s ago"}},
		{"not connected", changed(func(f *path.Facts) { f.Health = path.Health{Time: secondsAgo(3), Error: "connection refused"} }), "beside", nil},
		{"silent, of a VMM that is stopped", changed(silentEnvd, synDropped, stopped), "suppressed", []string{"vmm-stopped"}},
	})
}
