package diagnose

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

// synDropped is a guest that answers ARP and leaves SYNs to envd alone.
func synDropped(f *path.Facts) {
	f.Traffic.SYNs, f.Traffic.SYNACKs, f.Traffic.LastEnvdSYNACK = 2, 0, time.Time{}
	f.Traffic.LastReceive, f.Traffic.LastEnvdSYN, f.Traffic.EnvdWaiting = secondsAgo(8), secondsAgo(0.1), secondsAgo(7.1)
}

func TestEnvdNoAnswer(t *testing.T) {
	tryCheck(t, envdNoAnswer, []look{
		{"answers", healthy(), "ok", []string{"answered a SYN 2s ago"}},
		{"no answer", changed(synDropped), "problem", []string{
			"the guest has left connections to port 49983 unanswered for 7.1s", "the guest has left connections (SYNs) to envd's port unanswered for 7.1s", "the guest's last frame of any kind: 8s ago",
		}},
		{"answered before, not now", changed(synDropped, func(f *path.Facts) { f.Traffic.LastEnvdSYNACK = secondsAgo(20) }), "problem", nil},
		{"asked just now", changed(func(f *path.Facts) { f.Traffic.EnvdWaiting = secondsAgo(1.5) }), "ok", nil},
		{"never asked", changed(func(f *path.Facts) { f.Traffic.LastEnvdSYNACK = time.Time{} }), "unknown", []string{"no connection"}},
		{"only the slot's last sandbox answered", changed(func(f *path.Facts) { f.Traffic.LastEnvdSYNACK = secondsAgo(300) }), "unknown", nil},
		{"no hooks", changed(noHooks), "beside", nil},
		{"never heard, carrier unknown", changed(synDropped, func(f *path.Facts) { f.Traffic.LastReceive, f.Device.Carrier = time.Time{}, path.Unknown }),
			"problem", []string{"the guest's last frame of any kind: never"}},
		{"the guest was never heard", changed(synDropped, func(f *path.Facts) { f.Traffic.LastReceive = time.Time{} }), "suppressed", []string{"guest-silent"}},
		{"it refused before it fell silent", changed(synDropped, func(f *path.Facts) { f.Traffic.LastEnvdRefused = secondsAgo(9) }), "suppressed", []string{"envd-refused"}},
		{"ARP is not answered either", changed(synDropped, func(f *path.Facts) { f.Traffic.ARPWaiting = secondsAgo(3) }), "suppressed", []string{"guest-no-arp"}},
		{"behind a tap that is down", changed(synDropped, tapIsDown), "suppressed", []string{"tap-down"}},
		{"while the sandbox boots", changed(synDropped, booting), "booting", []string{"unanswered for 7.1s"}},
	})
}
