package diagnose

import "tapwatch/agent/path"

var guestNoCgroup2 = Check{
	Code:      "guest-no-cgroup2",
	Title:     "The guest could not mount cgroup2, and envd does not come up",
	Hop:       path.Envd,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"envd-missing", "envd-not-runnable", "init-no-cgroup2", "guest-no-arp"}, guestNoARP.DependsOn...),
	InBoot:    true,
	Run: func(f path.Facts) Result {
		line, ok := said(f, "guest-no-cgroup2")
		t := f.Traffic
		// A line of the console's proves nothing while envd answers.
		if !ok || t == nil || sinceAttach(f, t.LastEnvdSYNACK) || t.LastEnvdRefused.IsZero() {
			return notApplicable()
		}
		return wrong(path.Finding{
			Cause:    "the guest could not mount cgroup2, which envd needs before it listens",
			Evidence: append(line, "the guest has accepted no connection to envd's port yet, and refused the last "+ago(f.Now, t.LastEnvdRefused)),
			Fix:      "give the template a kernel with CONFIG_CGROUPS and cgroup2, and an /sbin/init that makes /sys/fs/cgroup and mounts it: mount -t cgroup2 none /sys/fs/cgroup",
		})
	},
}
