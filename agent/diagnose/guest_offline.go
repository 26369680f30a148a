package diagnose

import "tapwatch/agent/path"

// How often the threads of vCPUs begin to run in a second: a kernel that runs has timers,
// also where nothing is to be done; one that has halted is woken by frames at most.
const (
	aliveRuns  = 5.0
	haltedRuns = 2.0
	// spins is from how much of a CPU on a vCPU does nothing else.
	spins = 0.9
)

var guestOffline = Check{
	Code:      "guest-offline",
	Title:     "The guest's kernel runs, but its eth0 answers nothing any more",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: guestHungDependsOn,
	Run: func(f path.Facts) Result {
		if !hushed(f) || vcpusDo(f) != doRun {
			return notApplicable()
		}
		v := f.Sandbox.Process.VCPUs
		return wrong(path.Finding{
			Cause: "the guest's eth0 is down, or it has lost its IPv4 address: the guest answered before, and has answered nothing for " + inWords(arpUnanswered(f)) + ", not even ARP, while its kernel runs",
			Evidence: append(hushedEvidence(f),
				vcpuEvidence(v)+" (one that has halted does not wake, one that spins uses a whole CPU)"),
			Fix: "read the guest's console (" + logs(f) + ") for what took eth0 down or its address away" + byShell(f, "give it back (ip link set eth0 up, or ip addr add "+prefixed(f.Device.GuestAddr)+" dev eth0)"),
		})
	},
}

// What the vCPUs of a guest do, as far as their threads show.
type doing int

const (
	doUnknown doing = iota
	doNothing       // the kernel has halted
	doRun           // the kernel runs, now and then
	doSpin          // all the time
)

// vcpusDo says what the guest's vCPUs do.
func vcpusDo(f path.Facts) doing {
	if f.Sandbox.Process == nil || f.Sandbox.Process.VCPUs == nil {
		return doUnknown
	}
	v := f.Sandbox.Process.VCPUs
	switch runs := float64(v.Runs) / v.Over.Seconds(); {
	case v.Ran+v.Lack >= spins:
		return doSpin
	case runs >= aliveRuns:
		return doRun
	case runs < haltedRuns:
		return doNothing
	}
	return doUnknown
}

// hushed says whether a guest that answered before leaves even ARP unanswered, and has
// sent no frame since it was asked.
func hushed(f path.Facts) bool {
	t := f.Traffic
	return t != nil && !hasXDP(f) && sinceAttach(f, t.LastEnvdSYNACK) && arpUnanswered(f) > Patience && !t.LastReceive.After(t.ARPWaiting)
}

func hushedEvidence(f path.Facts) []string {
	return append(unansweredEvidence(f),
		"the guest's last frame of any kind: "+ago(f.Now, f.Traffic.LastReceive),
		"envd's port last answered: "+ago(f.Now, f.Traffic.LastEnvdSYNACK))
}
