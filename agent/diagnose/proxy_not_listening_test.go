package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

func proxyGone(f *path.Facts) { f.Proxy.Listening = path.No }

func TestProxyNotListening(t *testing.T) {
	tryCheck(t, proxyNotListening, []look{
		{"listens", healthy(), "ok", []string{"listens"}},
		{"gone", changed(proxyGone), "problem", []string{"no process listens on 127.0.0.1:49983", "in the host's namespace", "tapwatch proxy --listen 127.0.0.1:49983"}},
		{"not read", changed(func(f *path.Facts) { f.Proxy.Listening = path.Unknown }), "unknown", []string{"could not be read"}},
		{"not there, and nobody expects one", changed(proxyGone, func(f *path.Facts) { f.Proxy.Expected = false }), "unknown",
			[]string{"no proxy was ever seen at 127.0.0.1:49983", "--proxy ADDRESS:PORT"}},
		{"listens, though nobody expects one", changed(func(f *path.Facts) { f.Proxy.Expected = false }), "ok", nil},
		{"not read, and nobody expects one", changed(func(f *path.Facts) { f.Proxy.Listening, f.Proxy.Expected = path.Unknown, false }), "unknown", []string{"could not be read"}},
		{"gone while the sandbox boots", changed(proxyGone, booting), "problem", nil},
		{"a break further on does not excuse it", changed(proxyGone, vmmDead), "problem", nil},
	})
}
