package diagnose

import (
	"testing"

	"tapwatch/agent/path"
)

// spoiled gives the sandbox a template with a problem; no evidence is none.
func spoiled(code, cause, evidence, fix string) func(*path.Facts) {
	p := path.TemplateProblem{Code: code, Cause: cause, Evidence: []string{evidence}, Fix: fix}
	if evidence == "" {
		p.Evidence = []string{}
	}
	return func(f *path.Facts) {
		f.Template = &path.Template{Dir: "/templates/b1", Problems: []path.TemplateProblem{p}}
	}
}

var corruptShebang = spoiled("init-shebang",
	`the first line of /sbin/init is no shebang that a kernel takes: it begins with #\!, as a shell with history expansion writes it`,
	`it is "#\\!/bin/sh"`, "write #! without the backslash; in a shell quote the heredoc's END, or use printf")

var noCgroup2 = spoiled("init-no-cgroup2",
	"init does not mount cgroup2: envd cannot make its cgroups, and E2B's never listens then",
	"no line mounts cgroup2 in /sbin/init",
	"mount it in /sbin/init, before envd is started: mount -t cgroup2 cgroup2 /sys/fs/cgroup")

func TestInitFault(t *testing.T) {
	tryCheck(t, initShebang, []look{
		{"sound template", changed(vmmDead, noTrafficYet), "beside", nil},
		{"not read", changed(vmmDead, noTrafficYet, func(f *path.Facts) { f.Template = nil }), "beside", nil},
		{"the VMM has ended", changed(vmmDead, noTrafficYet, corruptShebang), "problem", []string{"#\\!", "/templates/b1", "the VMM has ended", "printf"}},
		{"the VMM has ended while the sandbox boots", changed(vmmDead, noTrafficYet, corruptShebang, booting), "problem", nil},
		{"the guest is silent", changed(guestMute, func(f *path.Facts) { f.Traffic.LastReceive = secondsAgo(3600) }, corruptShebang), "problem", []string{"never sent a frame"}},
		{"the guest boots", changed(noTrafficYet, corruptShebang, booting), "beside", nil},
		{"the guest speaks: it was given another init", changed(corruptShebang), "beside", nil},
		{"the guest spoke before its VMM was killed", changed(vmmDead, corruptShebang), "beside", nil},
		{"nothing is seen of a VMM that runs", changed(noHooks, corruptShebang), "beside", nil},
		{"without hooks, and the guest does not answer ARP", changed(noHooks, corruptShebang, asked(path.Health{Unreachable: true, Error: "no route to host"})), "problem", []string{"asked envd for its health from inside ns-7", "no route to host"}},
		{"no tap", changed(vmmDead, noTrafficYet, corruptShebang, tapGone), "suppressed", []string{"tap-missing"}},
	})
}

func TestInitFaultStandsAlone(t *testing.T) {
	for name, f := range map[string]path.Facts{
		"VMM ended":    changed(vmmDead, noTrafficYet, corruptShebang),
		"guest silent": changed(guestMute, func(f *path.Facts) { f.Traffic.LastReceive = secondsAgo(3600) }, corruptShebang),
	} {
		d := Run(f)
		if len(d.Findings) != 1 || d.Findings[0].Code != "init-shebang" || d.BrokenAt() != path.Guest {
			t.Errorf("%s: %s", name, summary(d))
		}
	}
}

func TestEnvdFault(t *testing.T) {
	tryCheck(t, initNoCgroup2, []look{
		{"sound template", changed(portClosed), "beside", nil},
		{"refused", changed(portClosed, noCgroup2), "problem", []string{"no line mounts cgroup2", "the guest has accepted no connection to envd's port yet"}},
		{"refused while the sandbox boots", changed(portClosed, noCgroup2, booting), "booting", nil},
		{"no hooks", changed(noHooks, noCgroup2), "beside", nil},
		{"no hooks, and the guest refuses", changed(noHooks, noCgroup2, asked(path.Health{Refused: true, Error: "connection refused"})), "problem", []string{"asked envd for its health from inside ns-7", "connection refused"}},
		{"no hooks, and envd answers", changed(noHooks, noCgroup2, asked(path.Health{Connected: true, Code: 204})), "problem", []string{"answers all the same"}},
		{"the guest has no address", changed(wrongAddress, noCgroup2), "suppressed", []string{"guest-no-arp"}},
	})
	tryCheck(t, envdMissing, []look{
		{"envd lies elsewhere", changed(spoiled("envd-missing", "the image has no envd", "x", "y")), "beside", nil},
	})
}

// asked is what a look without an agent learns of envd.
func asked(h path.Health) func(*path.Facts) {
	return func(f *path.Facts) {
		h.Time = f.Now
		f.Health = h
	}
}

// TestWithoutHooksTheTemplateIsNamed: the cause is in the template that was read,
// so it stands alone, as with a running agent.
func TestWithoutHooksTheTemplateIsNamed(t *testing.T) {
	missing := spoiled("envd-missing", "the image has no envd", "", "install it")
	for want, f := range map[string]path.Facts{
		"envd-missing": changed(noHooks, missing, asked(path.Health{Refused: true, Error: "connection refused"})),
		"init-shebang": changed(noHooks, corruptShebang, asked(path.Health{Unreachable: true, Error: "no route to host"})),
	} {
		if d := Run(f); len(d.Findings) != 1 || d.Findings[0].Code != want {
			t.Errorf("want %s alone: %s", want, summary(d))
		}
	}
}

// TestWarning: a problem that requests get through is told, and the path is well.
func TestWarning(t *testing.T) {
	d := Run(changed(noCgroup2))
	if d.State != path.OK || len(d.Findings) != 1 || d.Findings[0].Severity != path.Warning || d.BrokenAt() != "" {
		t.Errorf("%s: %+v", summary(d), d.Findings)
	}
}
