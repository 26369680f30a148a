package diagnose

import (
	"testing"
	"time"

	"tapwatch/agent/path"
)

// stuck has a thread of the VMM not have run for so long.
func stuck(state, where string, seconds float64) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.Process = &path.VMMProcess{Stuck: []path.StuckThread{{TID: 4250, Command: "fc_vcpu 0", State: state, Where: where, Since: secondsAgo(seconds)}},
			Pressure: &path.Pressure{CPU: 3, IO: 99}}
	}
}

func TestVMMBlocked(t *testing.T) {
	tryCheck(t, vmmBlocked, []look{
		{"nothing is known", changed(hung), "beside", nil},
		{"for a moment", changed(hung, stuck("D", "io_schedule", 0.4)), "beside", nil},
		{"for its disk", changed(hung, stuck("D", "io_schedule", 12)), "problem", []string{
			"the VMM (pid 4242) waits for its storage: its thread fc_vcpu 0 has not run for 12s", "waits in the kernel, in io_schedule (state D in /proc/4242/task/4250/stat)", "for disks in 99%", "nbd"}},
		{"for memory", changed(hung, stuck("D", "mem_cgroup_handle_over_high", 12)), "problem", []string{"waits for memory", "memory.high"}},
		{"for a page-fault handler, killable", changed(hung, stuck("D", path.FaultsByUser, 12)), "problem", []string{"page-fault handler (userfaultfd)"}},
		{"for a page-fault handler, asleep", changed(hung, stuck("S", path.FaultsByUser, 12)), "problem", []string{"page-fault handler (userfaultfd)"}},
		{"where nobody may look", changed(hung, stuck("D", "", 12)), "problem", []string{"waits for the kernel", "in a function that the agent may not read"}},
		{"and nobody asks", changed(stuck("D", "io_schedule", 8)), "beside", nil},
		{"for long, and nobody asks", changed(stuck("D", "io_schedule", 30)), "problem", []string{"waits for its storage"}},
		{"asleep as usual", changed(hung, stuck("S", "do_epoll_wait", 12)), "beside", nil},
		{"frozen by version 1, which looks so too", changed(hung, stuck("D", "__refrigerator", 12), func(f *path.Facts) { f.Sandbox.Process.Cgroup.Frozen = path.Yes }), "suppressed", []string{"vmm-paused"}},
	})
	tryCheck(t, guestHung, []look{{"its VMM waits for a disk", changed(hung, stuck("D", "io_schedule", 12)), "suppressed", []string{"vmm-blocked"}}})
	if d := Run(changed(stuck("D", "io_schedule", 30))); d.State != path.OK {
		t.Errorf("a wait that nobody minds breaks the path: %s", summary(d))
	}
}

// throttled is a VMM whose quota lasted in so few of ten periods.
func throttled(lasted uint64) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.Process = &path.VMMProcess{Cgroup: path.Cgroup{Path: "/sys/fs/cgroup/sbx", Frozen: path.No,
			Throttle: &path.Throttle{File: "/sys/fs/cgroup/sbx/cpu.max", CPUs: 0.01, Periods: 10, Throttled: 10 - lasted, Over: time.Second}}}
	}
}

// vcpus is what the guest's vCPUs did in a second.
func vcpus(ran, lack float64, runs uint64) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Sandbox.Process = &path.VMMProcess{VCPUs: &path.VCPUs{Threads: 1, Named: true, Ran: ran, Lack: lack, Runs: runs, Over: time.Second}}
	}
}

func TestVMMStarved(t *testing.T) {
	tryCheck(t, vmmStarved, []look{
		{"by its quota", changed(hung, throttled(0)), "problem", []string{"held back by its CPU quota of 0.01 CPUs: it ran out in 10 of 10 periods", "write a larger quota to /sys/fs/cgroup/sbx/cpu.max"}},
		{"by its quota, and nobody asks", changed(throttled(0)), "beside", nil},
		{"by its quota, and envd answers too late", changed(silentEnvd, throttled(0)), "problem", []string{"held back by its CPU quota"}},
		{"by its quota now and then", changed(hung, throttled(6)), "beside", nil},
		{"by others", changed(hung, vcpus(0.05, 0.9, 40)), "problem", []string{"waits for a CPU in 95% of the time"}},
		{"it wants none", changed(hung, vcpus(0.01, 0.1, 40)), "beside", nil},
		{"it has its share", changed(hung, vcpus(0.5, 0.5, 40)), "beside", nil},
	})
}

func TestGuestOffline(t *testing.T) {
	tryCheck(t, guestOffline, []look{
		{"its kernel wakes", changed(hung, vcpus(0.02, 0, 80)), "problem", []string{
			"the guest's eth0 is down, or it has lost its IPv4 address", "used 0.02 CPUs", "woke 80 times"}},
		{"it does nothing", changed(hung, vcpus(0, 0, 1)), "beside", nil},
		{"it spins", changed(hung, vcpus(1, 0, 300)), "beside", nil},
		{"nothing is known", changed(hung), "beside", nil},
		{"it answers", changed(vcpus(0.02, 0, 80)), "beside", nil},
		{"an XDP program takes what it sends", changed(hung, vcpus(0.02, 0, 80), func(f *path.Facts) { f.Rules.NotJudged = []string{path.XDPOn("tap0")} }), "beside", nil},
	})
	tryCheck(t, guestHung, []look{
		{"its kernel wakes", changed(hung, vcpus(0.02, 0, 80)), "suppressed", []string{"guest-offline"}},
		{"it does nothing", changed(hung, vcpus(0, 0, 1)), "problem", []string{"has halted", "its vCPUs do nothing"}},
		{"looked at once", changed(hung, func(f *path.Facts) { f.Sandbox.Process, f.Traffic.ARPWaiting = &path.VMMProcess{}, secondsAgo(2) }), "unknown", []string{"takes two looks"}},
		{"it spins", changed(hung, vcpus(1, 0, 300)), "problem", []string{"a vCPU runs all the time; or a program is busy in it, and its eth0 is down"}},
	})
}

// replies has the guest answer, or not, at a port that nobody listens at.
func replies(is path.Tristate) func(*path.Facts) {
	return func(f *path.Facts) {
		f.Inside.Replies = is
		f.Traffic.LastARPReply, f.Traffic.LastReceive = secondsAgo(1), secondsAgo(1)
	}
}

func TestGuestNoReply(t *testing.T) {
	tryCheck(t, guestNoReply, []look{
		{"it answers ARP alone", changed(synDropped, replies(path.No)), "problem", []string{
			"most likely it has no route back to 169.254.0.22", "else a firewall in it drops everything", "ip route get 169.254.0.22"}},
		{"it answers by IP", changed(synDropped, replies(path.Yes)), "beside", nil},
		{"nobody asked", changed(synDropped, replies(path.Unknown)), "beside", nil},
		{"it answered ARP before", changed(synDropped, replies(path.No), func(f *path.Facts) { f.Traffic.LastARPReply = secondsAgo(50) }), "beside", nil},
		{"all is answered", changed(replies(path.No)), "beside", nil},
	})
	tryCheck(t, envdNoAnswer, []look{
		{"it answers ARP alone", changed(synDropped, replies(path.No)), "suppressed", []string{"guest-no-reply"}},
		{"it has not answered ARP yet", changed(synDropped, replies(path.No), func(f *path.Facts) {
			f.Traffic.EnvdWaiting, f.Traffic.LastARPReply = secondsAgo(4), secondsAgo(50)
		}), "unknown", []string{"it is being asked by ARP"}},
		{"it answers no ARP", changed(synDropped, replies(path.No), func(f *path.Facts) { f.Traffic.LastARPReply = secondsAgo(50) }), "problem", []string{"it has no route back"}},
		{"it answers by IP", changed(synDropped, replies(path.Yes)), "problem", []string{"most likely a firewall in it drops them", "has its route back"}},
		{"it refuses another port", changed(synDropped, replies(path.Unknown), func(f *path.Facts) { f.Traffic.LastPortRefused = secondsAgo(1) }), "problem", []string{"refused a connection to another port 1s ago"}},
		{"nobody asked", changed(synDropped, replies(path.Unknown)), "problem", []string{"a firewall in it drops them, envd accepts none", "no route back"}},
	})
}

// What is on the console is a hint where the guest is silent since, and nothing else.
func TestConsoleOfAGuestThatAnswers(t *testing.T) {
	line := func(read float64) func(*path.Facts) {
		return func(f *path.Facts) {
			f.Sandbox.Console = []path.ConsoleFault{{Code: "guest-panic", Line: "Kernel panic - not syncing: x", Read: secondsAgo(read)}}
		}
	}
	tryCheck(t, guestPanic, []look{
		{"it answers since", changed(line(8)), "beside", nil},
		{"nobody has asked since", changed(line(1)), "beside", nil},
		{"it answers nothing since", changed(hung, line(35)), "problem", []string{"console: Kernel panic"}},
		{"it speaks, and does not answer", changed(synDropped, line(35), func(f *path.Facts) { f.Traffic.LastReceive = secondsAgo(3) }), "beside", nil},
		{"its VMM has ended", changed(line(8), vmmDead), "problem", nil},
		{"it was never heard", changed(line(8), noTrafficYet), "problem", nil},
		{"it was never heard, by hooks that came later", changed(line(8), noTrafficYet, func(f *path.Facts) { f.Traffic.Since = secondsAgo(20) }), "beside", nil},
		{"it answers the agent's own question", changed(line(8), noHooks, func(f *path.Facts) { f.Health = path.Health{Time: now, Connected: true, Code: 204} }), "beside", nil},
		{"of a launcher whose file it is", changed(hung, line(35), func(f *path.Facts) { f.Sandbox.Foreign, f.Sandbox.ConsoleFile = true, "/var/log/fc-1.log" }), "problem", []string{"/var/log/fc-1.log: Kernel panic", "read what comes before that line on the console (/var/log/fc-1.log)"}},
	})
}

// One process that is proxy and relay is one cause.
func TestOneProcessThatIsTwoHops(t *testing.T) {
	both := func(f *path.Facts) { f.Relay.Process = f.Proxy.Process }
	for name, c := range map[string]struct {
		f    path.Facts
		want string
	}{
		"stopped":        {changed(halted(proxy), both), "broken: broken unknown ok ok ok [proxy-not-accepting]"},
		"without files":  {changed(opened(proxy, 4096), both), "broken: broken unknown ok ok ok [proxy-fd-limit]"},
		"few files left": {changed(opened(proxy, 4000), both), "ok: ok ok ok ok ok [proxy-fd-limit]"},
		"two of them":    {changed(halted(proxy), halted(relay)), "broken: broken broken ok ok ok [proxy-not-accepting relay-not-accepting]"},
	} {
		d := Run(c.f)
		if got := summary(d); got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	if d := Run(changed(halted(proxy), both)); d.Findings[0].Cause != "the process of both proxy and relay, tapwatch (pid 900), is stopped (SIGSTOP, or a debugger): it accepts and passes on nothing" {
		t.Error(d.Findings[0].Cause)
	}
}
