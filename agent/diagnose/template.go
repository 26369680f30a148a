package diagnose

import (
	"slices"
	"time"

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
	finding.Fix += "; then " + anew(f)
	dead := f.Sandbox.VMMAlive == path.No
	switch {
	case !found, everHeard(f):
		return notApplicable()
	case !dead && (f.Sandbox.Booting || f.Traffic == nil && !f.Health.Unreachable): // it may have been told another init
		return notApplicable()
	}
	switch {
	case dead:
		finding.Evidence = append(finding.Evidence, "the guest never sent a frame, and the VMM has ended")
	case f.Traffic == nil:
		finding.Evidence = append(finding.Evidence, healthEvidence(f))
	default:
		finding.Evidence = append(finding.Evidence, "the guest never sent a frame")
	}
	return wrong(finding)
}

// healthEvidence is what came of the question for envd's health, where nothing did.
func healthEvidence(f path.Facts) string {
	return "Tapwatch asked envd for its health from inside " + where(f) + " " + ago(f.Now, f.Health.Time) + ": " + f.Health.Error
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
	if !found {
		return notApplicable()
	}
	var answered time.Time
	switch {
	case f.Traffic == nil && f.Health.Connected:
		answered = f.Health.Time
	case f.Traffic == nil && f.Health.Refused:
		finding.Evidence = append(finding.Evidence, healthEvidence(f))
		finding.Fix += "; then " + anew(f)
		return wrong(finding)
	case f.Traffic == nil:
		return notApplicable()
	case !sinceAttach(f, f.Traffic.LastEnvdSYNACK):
		finding.Evidence = append(finding.Evidence, "the guest has accepted no connection to envd's port yet")
		finding.Fix += "; then " + anew(f)
		return wrong(finding)
	default:
		answered = f.Traffic.LastEnvdSYNACK
	}
	if !harmless {
		return notApplicable()
	}
	finding.Severity = path.Warning
	finding.Evidence = append(finding.Evidence, "this sandbox's envd answers all the same, last "+ago(f.Now, answered))
	return wrong(finding)
}
