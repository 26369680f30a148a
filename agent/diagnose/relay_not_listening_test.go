package diagnose

import (
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

func relayGone(f *path.Facts) { f.Relay.Listening = path.No }

func shape(s registry.Shape) func(*path.Facts) {
	return func(f *path.Facts) { f.Sandbox.Shape = s }
}

func relayElsewhere(f *path.Facts) { f.Relay.Actual = "127.0.0.1:49983" }

func TestRelayNotListening(t *testing.T) {
	tryCheck(t, relayNotListening, []look{
		{"listens", healthy(), "ok", []string{"listens"}},
		{"gone", changed(relayGone), "problem",
			[]string{"no relay listens on 10.12.0.15:49983", "in ns-7", "--netns ns-7 --listen 10.12.0.15:49983 --to 169.254.0.21:49983"}},
		{"on another address", changed(relayGone, relayElsewhere), "suppressed", []string{"relay-wrong-address"}},
		{"fused has none", changed(relayGone, shape(registry.Fused)), "beside", nil},
		{"dnat has none", changed(relayGone, shape(registry.DNAT)), "ok", []string{"the namespace's kernel passes on"}},
		{"listens, shape unknown", changed(shape("")), "ok", nil},
		{"gone, shape unknown", changed(relayGone, shape("")), "unknown", []string{"right if it uses DNAT"}},
		{"on another address, shape unknown", changed(relayGone, relayElsewhere, shape("")), "suppressed", []string{"relay-wrong-address"}},
		{"not read", changed(func(f *path.Facts) { f.Relay.Listening = path.Unknown }), "unknown", []string{"could not be read"}},
		{"not read, shape unknown", changed(shape(""), func(f *path.Facts) { f.Relay.Listening = path.Unknown }), "unknown", nil},
		{"gone while the sandbox boots", changed(relayGone, booting), "booting", []string{"no relay listens"}},
		{"beside a dead VMM it is a cause of its own", changed(relayGone, vmmDead), "problem", nil},
	})
}
