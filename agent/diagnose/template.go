package diagnose

import (
	"slices"

	"tapwatch/agent/path"
)

// What is wrong with a template, found in its files, is a cause only where the
// sandbox shows it: a guest that speaks has an init that was good enough.

// initCodes are the problems after which no guest comes up, and the VMM mostly
// ends with its guest's panic.
var initCodes = []string{"init-missing", "init-not-executable", "init-shebang"}

// envdCodes are the problems after which envd does not listen.
var envdCodes = []string{"envd-missing", "envd-not-runnable", "init-no-cgroup2", "cache-metadata-missing"}

// inTemplate returns the problem of that code as a finding.
func inTemplate(f path.Facts, code string) (path.Finding, bool) {
	if f.Template == nil {
		return path.Finding{}, false
	}
	i := slices.IndexFunc(f.Template.Problems, func(p path.TemplateProblem) bool { return p.Code == code })
	if i < 0 {
		return path.Finding{}, false
	}
	p := f.Template.Problems[i]
	return path.Finding{
		Cause:    p.Cause,
		Evidence: append(slices.Clone(p.Evidence), "read from the template in "+f.Template.Dir),
		Fix:      p.Fix,
	}, true
}

// initFault is the check of one of initCodes.
func initFault(f path.Facts, code string) Result {
	finding, found := inTemplate(f, code)
	dead := f.Sandbox.VMMAlive == path.No
	switch {
	case !found, everHeard(f):
		return notApplicable()
	case !dead && (f.Sandbox.Booting || f.Traffic == nil): // it may have been told another init
		return notApplicable()
	}
	if dead {
		finding.Evidence = append(finding.Evidence, "the guest never sent a frame, and the VMM has ended")
	} else {
		finding.Evidence = append(finding.Evidence, "the guest never sent a frame")
	}
	return wrong(finding)
}

// everHeard says whether the sandbox's guest ever sent a frame.
func everHeard(f path.Facts) bool {
	return f.Traffic != nil && !f.Traffic.LastReceive.IsZero() && f.Traffic.LastReceive.After(f.Sandbox.Since)
}

// envdFault is the check of one of envdCodes. Where envd listens all the same, or
// did, it is not what breaks the path: harmless says whether it is told then, as
// a warning.
func envdFault(f path.Facts, code string, harmless bool) Result {
	finding, found := inTemplate(f, code)
	if !found || f.Traffic == nil {
		return notApplicable()
	}
	if !sinceAttach(f, f.Traffic.LastEnvdSYNACK) {
		finding.Evidence = append(finding.Evidence, "no connection to envd's port was answered yet")
		return wrong(finding)
	}
	if !harmless {
		return notApplicable()
	}
	finding.Severity = path.Warning
	finding.Evidence = append(finding.Evidence, "this sandbox's envd answers all the same, last "+ago(f.Now, f.Traffic.LastEnvdSYNACK))
	return wrong(finding)
}
