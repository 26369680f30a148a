package inspect

import (
	"cmp"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tapwatch/agent/path"
	"tapwatch/internal/proc"
)

// VMMs looks at the processes of VMMs: at their threads and control groups. What takes
// two looks to tell it remembers. It may be used from any goroutine.
type VMMs struct {
	mu      sync.Mutex
	mounted []hierarchy
	readAt  time.Time                  // of mounted
	of      map[proc.Process][]*sample // the last ones, the oldest first
}

// sample is what one look saw.
type sample struct {
	at      time.Time
	threads map[int]thread
	quotas  []quota
}

type thread struct {
	command string
	state   proc.State
	where   string    // wchan; empty: not read, or not readable
	since   time.Time // it has not run since
	runs    uint64
	ran     time.Duration
	lacked  time.Duration // a CPU
}

const (
	// threadsMost bounds how many threads of a VMM are looked at.
	threadsMost = 64
	// stuckMost bounds how many of them are named.
	stuckMost = 4
	// apart is how far two looks must lie apart to be compared, and compared how far
	// they may: what was long ago says nothing of now.
	apart, compared = 300 * time.Millisecond, 4 * time.Second
	// samplesMost bounds how many samples of a VMM are kept.
	samplesMost = 16
	// mountsFor is how long what is mounted is taken for known.
	mountsFor = time.Minute
)

// Look looks at a VMM.
func (v *VMMs) Look(p proc.Process, now time.Time) (is path.VMMProcess, err error) {
	v.mu.Lock()
	known := v.of[p]
	v.mu.Unlock()
	last, before := lastOf(known, now)
	b, err := os.ReadFile(dirOf(p.PID) + "/cgroup")
	if err != nil {
		return is, err
	}
	groups := groupsOf(members(b), v.hierarchies(now))
	s := &sample{at: now, quotas: groups.quotas()}
	if s.threads, err = threadsOf(p.PID, last, now); err != nil {
		return is, err
	}
	if again, err := proc.ProcessOf(p.PID); err != nil || again != p {
		return is, proc.ErrGone
	}
	is.Cgroup = groups.frozen()
	is.Tracer, is.Pressure = tracerOf(p.PID), groups.pressure()
	is.Stuck = s.stuck()
	if before != nil {
		is.Cgroup.Throttle = throttle(before.quotas, s.quotas, now.Sub(before.at))
		is.VCPUs = s.vcpus(before, p.PID)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil {
		v.of = map[proc.Process][]*sample{}
	}
	kept := slices.DeleteFunc(slices.Clone(known), func(k *sample) bool { return now.Sub(k.at) > compared })
	v.of[p] = append(kept[max(0, len(kept)-samplesMost+1):], s)
	return is, nil
}

// Forget forgets the processes that are no VMMs any more.
func (v *VMMs) Forget(are map[int]bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for p := range v.of {
		if !are[p.PID] {
			delete(v.of, p)
		}
	}
}

// EventsFile returns the file of the group of a process that the kernel reports as
// changed when the group is frozen or goes on; empty: there is none.
func (v *VMMs) EventsFile(pid int, now time.Time) string {
	b, err := os.ReadFile(dirOf(pid) + "/cgroup")
	if err != nil {
		return ""
	}
	if dirs := groupsOf(members(b), v.hierarchies(now)).unified; len(dirs) > 0 {
		return dirs[0] + "/cgroup.events"
	}
	return ""
}

func (v *VMMs) hierarchies(now time.Time) []hierarchy {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.Sub(v.readAt) > mountsFor {
		if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
			v.mounted, v.readAt = hierarchies(b), now
		}
	}
	return v.mounted
}

// lastOf returns the last sample, and the last that one of now may be compared with; nil:
// there is none.
func lastOf(known []*sample, now time.Time) (last, before *sample) {
	for _, s := range known {
		last = s
		if age := now.Sub(s.at); age >= apart && age <= compared {
			before = s
		}
	}
	return last, before
}

func dirOf(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// threadsOf reads what the threads of a process do. Where one waits is read only of those
// that have not run since the last look.
func threadsOf(pid int, last *sample, now time.Time) (map[int]thread, error) {
	dir, err := os.Open(dirOf(pid) + "/task")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(threadsMost)
	if err != nil {
		return nil, err
	}
	all := make(map[int]thread, len(names))
	for _, name := range names {
		tid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		t, err := threadOf(dirOf(pid)+"/task/"+name, pid, tid)
		if err != nil { // it has ended
			continue
		}
		t.since = now
		if last != nil {
			if was, ok := last.threads[tid]; ok && was.runs == t.runs && t.runs > 0 {
				t.since = was.since
			}
		}
		if t.state == 'D' || t.since.Before(now) {
			if b, err := os.ReadFile(dirOf(pid) + "/task/" + name + "/wchan"); err == nil && string(b) != "0" {
				t.where = plain(string(b))
			}
		}
		all[tid] = t
	}
	return all, nil
}

func threadOf(dir string, pid, tid int) (t thread, err error) {
	s, err := proc.StatOfThread(pid, tid)
	if err != nil {
		return t, err
	}
	t.command, t.state = plain(s.Command), s.State
	b, err := os.ReadFile(dir + "/schedstat")
	if errors.Is(err, os.ErrNotExist) { // CONFIG_SCHED_INFO is off
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.ran, t.lacked, t.runs = parseSchedstat(b)
	return t, nil
}

// parseSchedstat reads what proc_pid_schedstat in fs/proc/base.c writes: nanoseconds on a
// CPU, nanoseconds waiting for one, and how often it began to run.
func parseSchedstat(b []byte) (ran, lacked time.Duration, runs uint64) {
	f := strings.Fields(string(b))
	if len(f) < 3 {
		return 0, 0, 0
	}
	r, _ := strconv.ParseInt(f[0], 10, 64)
	l, _ := strconv.ParseInt(f[1], 10, 64)
	runs, _ = strconv.ParseUint(f[2], 10, 64)
	return time.Duration(r), time.Duration(l), runs
}

// stuck returns the threads that wait for what the kernel does for them, or are stopped
// by themselves.
func (s *sample) stuck() (all []path.StuckThread) {
	for tid, t := range s.threads {
		if t.state == 'D' || t.state.Stopped() || t.where == path.FaultsByUser {
			all = append(all, path.StuckThread{TID: tid, Command: t.command, State: string(t.state), Where: t.where, Since: t.since})
		}
	}
	slices.SortFunc(all, func(a, b path.StuckThread) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return a.TID - b.TID
	})
	return all[:min(len(all), stuckMost)]
}

// vcpuNames are how VMMs call the threads of vCPUs: Firecracker, QEMU, Cloud Hypervisor.
var vcpuNames = []string{"fc_vcpu", "CPU ", "ALL CPUs/", "vcpu"}

// vcpus says what the threads of vCPUs did since an earlier look; nil: the kernel does not
// count it.
func (s *sample) vcpus(before *sample, pid int) *path.VCPUs {
	v := &path.VCPUs{Over: s.at.Sub(before.at)}
	isVCPU := func(_ int, t thread) bool {
		return slices.ContainsFunc(vcpuNames, func(n string) bool { return strings.HasPrefix(t.command, n) })
	}
	for tid, t := range s.threads {
		v.Named = v.Named || isVCPU(tid, t)
	}
	if !v.Named {
		isVCPU = func(tid int, _ thread) bool { return tid != pid }
	}
	var ran, lacked time.Duration
	for tid, t := range s.threads {
		was, ok := before.threads[tid]
		if !ok || !isVCPU(tid, t) {
			continue
		}
		if t.runs == 0 { // a thread that exists has run
			return nil
		}
		v.Threads++
		v.Runs += t.runs - was.runs
		ran += t.ran - was.ran
		lacked += t.lacked - was.lacked
	}
	if v.Threads == 0 {
		return nil
	}
	v.Ran, v.Lack = ran.Seconds()/v.Over.Seconds(), lacked.Seconds()/v.Over.Seconds()
	return v
}

// tracerOf reads who debugs a process; nil: nobody, or it is unknown. The kernel names the
// thread that does.
func tracerOf(pid int) *path.Holder {
	thread := statusNumber(pid, "TracerPid:")
	if thread == 0 {
		return nil
	}
	is := &path.Holder{PID: cmp.Or(statusNumber(thread, "Tgid:"), thread)}
	if s, err := proc.StatOf(is.PID); err == nil {
		is.Command = plain(s.Command)
	}
	return is
}

// statusNumber returns the number behind a key of /proc/PID/status, 0 where it cannot be
// read.
func statusNumber(pid int, key string) int {
	b, err := os.ReadFile(dirOf(pid) + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(value))
			return n
		}
	}
	return 0
}
