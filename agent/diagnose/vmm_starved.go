package diagnose

import (
	"fmt"
	"time"

	"tapwatch/agent/path"
)

const (
	// starvedShare is from which part of the time on, without a CPU that it wants, a VMM
	// is starved; starvedLack is how much it must have wanted.
	starvedShare, starvedLack = 0.8, 0.3
	// periodsLeast is how many periods of a quota must have passed to judge by.
	periodsLeast = 5
)

var vmmStarved = Check{
	Code:      "vmm-starved",
	Title:     "The VMM does not get the CPU that its guest needs",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-stopped", "vmm-paused", "vmm-blocked"}, tapFaults...),
	Run: func(f path.Facts) Result {
		p := f.Sandbox.Process
		if p == nil || f.Sandbox.VMMAlive == path.No || !asksInVain(f) { // a quota that does its work is no fault
			return notApplicable()
		}
		var evidence []string
		if f.Traffic != nil {
			evidence = unansweredEvidence(f)
		}
		if t := p.Cgroup.Throttle; t != nil && t.Periods >= periodsLeast && t.Share() >= starvedShare {
			return wrong(path.Finding{
				Cause: fmt.Sprintf("the VMM (pid %d) is held back by its CPU quota of %.3g CPUs: it ran out in %d of %d periods, and the guest answers too late",
					f.Sandbox.VMMPID, t.CPUs, t.Throttled, t.Periods),
				Evidence: append([]string{fmt.Sprintf("%s sets the quota; cpu.stat beside it counted the periods (nr_periods, nr_throttled) over %s", t.File, inWords(t.Over))}, evidence...),
				Fix:      "give its control group more: write a larger quota to " + t.File,
			})
		}
		if v := p.VCPUs; v != nil && v.Lack >= starvedLack && v.Lack/(v.Lack+v.Ran) >= starvedShare {
			return wrong(path.Finding{
				Cause: fmt.Sprintf("the VMM (pid %d) waits for a CPU in %.0f%% of the time in which its guest wants to run: the host has too few for what runs on it",
					f.Sandbox.VMMPID, 100*v.Lack/(v.Lack+v.Ran)),
				Evidence: append(append([]string{vcpuEvidence(v)}, pressureEvidence(f)...), evidence...),
				Fix:      "see who takes the CPUs (top, /proc/pressure/cpu), and the weight and CPU set of the VMM's control group: run fewer sandboxes here, or give this one its share",
			})
		}
		return notApplicable()
	},
}

// vcpuEvidence says what the threads of the vCPUs did.
func vcpuEvidence(v *path.VCPUs) string {
	who := "the guest's vCPUs"
	if !v.Named {
		who = "the VMM's threads besides its first"
	}
	return fmt.Sprintf("in %s %s (%d in all) used %.2f CPUs, waited for %.2f more, and woke %s", v.Over.Round(100*time.Millisecond), who, v.Threads, v.Ran, v.Lack, times(v.Runs))
}
