package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// refusing has the guest refuse a port, for so long, and last that many seconds ago.
func refusing(lasts, last float64) func(*path.Facts) {
	return func(f *path.Facts) {
		t := f.Traffic
		t.PortsRefused, t.RefusedPort = 14, 3000
		t.LastPortRefused, t.PortRefusedSince = secondsAgo(last), secondsAgo(last+lasts)
	}
}

func TestPortRefused(t *testing.T) {
	tryCheck(t, portRefused, []look{
		{"never", healthy(), "beside", nil},
		{"no hooks", changed(noHooks), "beside", nil},
		{"again and again", changed(refusing(12, 0.4)), "problem", []string{"refuses connections to port 3000", "reset a connection to port 3000 400ms ago", "again and again for 12s", "refused 14 connections to other ports", "0.0.0.0:3000"}},
		{"for a moment: a service that starts", changed(refusing(4, 0.4)), "beside", nil},
		{"long ago", changed(refusing(60, 11)), "beside", nil},
		{"of the slot's last sandbox", changed(refusing(3600, 1)), "beside", nil},
		{"envd is refused too", changed(portClosed, refusing(12, 0.4)), "suppressed", []string{"envd-refused"}},
		{"while the VMM is stopped", changed(stopped, refusing(12, 0.4)), "suppressed", []string{"vmm-stopped"}},
	})
	if d := Run(changed(refusing(12, 0.4))); d.State != path.OK || d.BrokenAt() != "" || !Passing(d) {
		t.Errorf("the path itself is well: %s", summary(d))
	}
}
