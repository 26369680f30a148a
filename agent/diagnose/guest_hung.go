package diagnose

import "tapwatch/agent/path"

var guestHungDependsOn = append([]string{"vmm-stopped", "vmm-paused", "vmm-blocked", "vmm-starved", "vmm-api-silent", "mac-changed", "guest-mac-mismatch", "guest-no-init", "guest-panic"}, tapFaults...)

var guestHung = Check{
	Code:      "guest-hung",
	Title:     "The guest was up, and now answers nothing at all",
	Hop:       path.Guest,
	Severity:  path.Critical,
	Inferred:  true,
	DependsOn: append([]string{"guest-offline"}, guestHungDependsOn...),
	Run: func(f path.Facts) Result {
		if !hushed(f) {
			return notApplicable()
		}
		if p := f.Sandbox.Process; p != nil && p.VCPUs == nil && arpUnanswered(f) < askedAfter {
			return unsure("the guest does not answer; what its vCPUs do takes two looks to tell")
		}
		quiet := "the guest answered before, and has answered nothing for " + inWords(arpUnanswered(f)) + ", not even ARP"
		finding := path.Finding{
			Cause:    quiet + ", while its VMM runs: its kernel hangs or has halted, or its eth0 is down or has lost its IPv4 address",
			Evidence: hushedEvidence(f),
			Fix:      "read the guest's console (" + logs(f) + ") for a panic or a halt; see whether a vCPU spins (" + top(f) + "); then " + anew(f),
		}
		switch vcpusDo(f) {
		case doNothing:
			finding.Cause = "the guest's kernel has halted: " + quiet + ", and its vCPUs do nothing, while its VMM runs"
			finding.Fix = "read the end of the guest's console (" + logs(f) + ") for who halted it, or a panic; then " + anew(f)
		case doSpin:
			finding.Cause = "the guest hangs: " + quiet + ", and a vCPU runs all the time; or a program is busy in it, and its eth0 is down or has lost its IPv4 address"
			finding.Fix = "read the guest's console (" + logs(f) + ") for a panic, a lockup or an OOM kill; see what the vCPU does (perf kvm stat live -p " + vmmPID(f) + "); then " + anew(f)
		}
		if p := f.Sandbox.Process; p != nil && p.VCPUs != nil {
			finding.Evidence = append(finding.Evidence, vcpuEvidence(p.VCPUs))
		}
		return wrong(finding)
	},
}
