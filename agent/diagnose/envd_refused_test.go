package diagnose

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

// portClosed is a guest whose kernel resets what is sent to envd's port.
func portClosed(f *path.Facts) {
	f.Traffic.SYNs, f.Traffic.SYNACKs, f.Traffic.SYNsRefused = 7, 0, 7
	f.Traffic.LastEnvdSYNACK, f.Traffic.LastEnvdRefused = time.Time{}, secondsAgo(0.3)
}

func TestEnvdRefused(t *testing.T) {
	tryCheck(t, envdRefused, []look{
		{"accepts", healthy(), "beside", nil},
		{"refuses", changed(portClosed), "problem", []string{
			"nothing listens on port 49983, envd's", "reset a connection to envd's port 300ms ago", "the guest refused 7 and accepted 0", "cgroup", "sandbox logs i1",
		}},
		{"accepted before, refuses now", changed(portClosed, func(f *path.Facts) { f.Traffic.LastEnvdSYNACK = secondsAgo(30) }), "problem", nil},
		{"refused before, accepts now", changed(func(f *path.Facts) { f.Traffic.LastEnvdRefused = secondsAgo(30) }), "beside", nil},
		{"the slot's last sandbox refused", changed(portClosed, func(f *path.Facts) { f.Traffic.LastEnvdRefused = secondsAgo(300) }), "beside", nil},
		{"no hooks", changed(noHooks), "unknown", []string{"no hooks"}},
		{"then the guest lost its address", changed(portClosed, func(f *path.Facts) {
			f.Traffic.LastEnvdRefused, f.Traffic.ARPWaiting = secondsAgo(9), secondsAgo(5)
		}), "suppressed", []string{"guest-no-arp"}},
		{"then the VMM died", changed(portClosed, vmmDead, func(f *path.Facts) { f.Device.Since = secondsAgo(0.1) }), "beside", nil},
		{"behind a tap that is down", changed(portClosed, tapIsDown), "suppressed", []string{"tap-down"}},
		{"while the sandbox boots", changed(portClosed, booting), "booting", []string{"nothing listens on port 49983, envd's"}},
	})
}
