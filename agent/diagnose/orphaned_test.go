package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// launcherGone is a launcher that the agent saw end so long ago; 0: before the agent came.
func launcherGone(seconds float64) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.Orphan = &path.Orphan{LauncherPID: 800}
		if seconds > 0 {
			f.Sandbox.Orphan.Since = secondsAgo(seconds)
		}
	}
}

func TestOrphaned(t *testing.T) {
	tryCheck(t, orphaned, []look{
		{"its launcher runs", healthy(), "beside", nil},
		{"gone, and another proxy listens", changed(launcherGone(4)), "problem", []string{
			"the launcher of this sandbox (tapwatch, pid 800) has ended", "no longer a running process: since 03:04:01 (4s ago)", "tapwatch cleanup"}},
		{"gone before the agent came", changed(launcherGone(0)), "problem", []string{"that was so when the agent came"}},
		{"gone while the sandbox boots", changed(launcherGone(4), booting), "problem", nil},
		{"gone with its proxy", changed(launcherGone(4), proxyGone), "problem", []string{
			"and its proxy with it", "no process listens on TCP 127.0.0.1:49983", "tapwatch proxy --listen 127.0.0.1:49983"}},
		{"gone, and the proxy listens elsewhere", changed(launcherGone(4), proxyElsewhere), "problem", []string{"nobody ends the sandbox in time"}},
	})
	tryCheck(t, proxyNotListening, []look{{"gone with the launcher", changed(launcherGone(4), proxyGone), "suppressed", []string{"orphaned"}}})
	tryCheck(t, proxyWrongAddress, []look{{"beside an ended launcher", changed(launcherGone(4), proxyElsewhere), "problem", nil}})
	for name, tt := range map[string]struct {
		facts path.Facts
		want  string
	}{
		"requests get through": {changed(launcherGone(4)), "ok: ok ok ok ok ok [orphaned]"},
		"none gets through":    {changed(launcherGone(4), proxyGone), "broken: broken ok ok ok ok [orphaned]"},
		"and the VMM too":      {changed(launcherGone(4), vmmDead), "broken: ok ok broken unknown unknown [orphaned vmm-exited]"},
	} {
		if got := summary(Run(tt.facts)); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
	if d := Run(changed(launcherGone(4), proxyGone)); d.Findings[0].Severity != path.Critical {
		t.Errorf("nobody reaches the sandbox, and that is a %s", d.Findings[0].Severity)
	}
}
