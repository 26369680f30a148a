package diagnose

import (
	"testing"

	"tapwatch/agent/path"
	"tapwatch/internal/registry"
)

func TestRelayWrongAddress(t *testing.T) {
	tryCheck(t, relayWrongAddress, []look{
		{"listens", healthy(), "beside", nil},
		{"listens on both", changed(relayElsewhere), "beside", nil},
		{"nobody listens", changed(relayGone), "beside", nil},
		{"on another address", changed(relayGone, relayElsewhere), "problem",
			[]string{"listens on 127.0.0.1:49983", "a process listens on 127.0.0.1:49983 instead", "--netns ns-7 --listen 10.12.0.15:49983 --to 169.254.0.21:49983"}},
		{"on another address, shape unknown", changed(relayGone, relayElsewhere, shape("")), "problem", nil},
		{"fused has none", changed(relayGone, relayElsewhere, shape(registry.Fused)), "beside", nil},
		{"not read", changed(relayElsewhere, func(f *path.Facts) { f.Relay.Listening = path.Unknown }), "beside", nil},
		{"while the sandbox boots", changed(relayGone, relayElsewhere, booting), "booting", nil},
	})
}
