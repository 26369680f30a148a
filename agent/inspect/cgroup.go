package inspect

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tapwatch/agent/path"
)

// hierarchy is one hierarchy of control groups as it is mounted here: the unified one,
// or one of version 1 with some controllers.
type hierarchy struct {
	dir         string // where it is mounted
	root        string // the group that is mounted there
	unified     bool
	controllers []string // of version 1
}

// hierarchies reads which there are. It parses /proc/self/mountinfo, which show_mountinfo
// in fs/proc_namespace.c writes.
func hierarchies(mountinfo []byte) (all []hierarchy) {
	for line := range bytes.Lines(mountinfo) {
		mount, fs, found := strings.Cut(string(line), " - ")
		of, is := strings.Fields(mount), strings.Fields(fs)
		if !found || len(of) < 5 || len(is) < 3 {
			continue
		}
		h := hierarchy{dir: unescaped(of[4]), root: unescaped(of[3])}
		switch is[0] {
		case "cgroup2":
			h.unified = true
		case "cgroup":
			h.controllers = strings.Split(is[2], ",")
		default:
			continue
		}
		all = append(all, h)
	}
	return all
}

// unescaped undoes seq_path's octal escapes of what would part fields.
func unescaped(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// member is a group that a process is in, by /proc/PID/cgroup.
type member struct {
	unified     bool
	controllers []string
	group       string
}

// members parses what proc_cgroup_show in kernel/cgroup/cgroup.c writes:
// hierarchy-ID:controllers:group.
func members(b []byte) (all []member) {
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 {
			all = append(all, member{unified: parts[0] == "0", controllers: strings.Split(parts[1], ","), group: parts[2]})
		}
	}
	return all
}

// groups are the directories of a process's own group and of those above it, the own one
// first, of the hierarchies that matter here. None: not mounted, or out of reach.
type groups struct{ unified, freezer, cpu []string }

func groupsOf(ms []member, hs []hierarchy) (g groups) {
	for _, m := range ms {
		for _, h := range hs {
			if m.unified != h.unified {
				continue
			}
			switch {
			case m.unified:
				g.unified = within(h, m.group)
			case slices.Contains(m.controllers, "freezer") && slices.Contains(h.controllers, "freezer"):
				g.freezer = within(h, m.group)
			case slices.Contains(m.controllers, "cpu") && slices.Contains(h.controllers, "cpu"):
				g.cpu = within(h, m.group)
			}
		}
	}
	return g
}

// within returns the directories from a group up to the root of the hierarchy, without
// that: it can be neither frozen nor limited.
func within(h hierarchy, group string) (dirs []string) {
	rest, ok := strings.CutPrefix(group, strings.TrimSuffix(h.root, "/"))
	if !ok || strings.HasPrefix(rest, "/..") { // outside of what is mounted here
		return nil
	}
	for rest = filepath.Clean("/" + rest); rest != "/"; rest = filepath.Dir(rest) {
		dirs = append(dirs, filepath.Join(h.dir, rest))
	}
	return dirs
}

// frozen says whether the freezer of either version holds the process. A hierarchy that
// is not mounted holds nobody.
func (g groups) frozen() (c path.Cgroup) {
	for _, dirs := range [][]string{g.unified, g.freezer} {
		if len(dirs) > 0 && c.Path == "" {
			c.Path = dirs[0]
		}
	}
	c.Frozen = path.No
	if len(g.unified) > 0 {
		events, err := os.ReadFile(g.unified[0] + "/cgroup.events")
		switch {
		case errors.Is(err, os.ErrNotExist): // Linux before 5.2, or the group has gone
		case err != nil:
			c.Frozen = path.Unknown
		case keyed(events, "frozen") > 0:
			c.Frozen, c.FreezerFile = path.Yes, g.unified[0]+"/cgroup.events"
			c.FreezerThaws = thawing(g.unified, "cgroup.freeze", "1", "0")
			return c
		}
	}
	if len(g.freezer) > 0 {
		state, err := os.ReadFile(g.freezer[0] + "/freezer.state")
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			c.Frozen = path.Unknown
		case strings.TrimSpace(string(state)) == "FROZEN":
			c.Frozen, c.FreezerFile = path.Yes, g.freezer[0]+"/freezer.state"
			c.FreezerThaws = thawing(g.freezer, "freezer.self_freezing", "1", "")
		}
	}
	return c
}

// thawing is the command that lets the group go on which froze, itself or one below it.
func thawing(dirs []string, file, is, write string) string {
	for _, dir := range dirs {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil && strings.TrimSpace(string(b)) == is {
			if write == "" {
				return "echo THAWED > " + dir + "/freezer.state"
			}
			return "echo " + write + " > " + filepath.Join(dir, file)
		}
	}
	return ""
}

// keyed returns the number behind a key of a flat keyed file, 0 where there is none.
func keyed(b []byte, key string) uint64 {
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// quota is a group with a CPU quota, and how often that has held it back.
type quota struct {
	file               string
	cpus               float64
	periods, throttled uint64
}

// quotas reads the quotas that a process is under.
func (g groups) quotas() (all []quota) {
	for _, dir := range g.unified {
		if b, err := os.ReadFile(dir + "/cpu.max"); err == nil {
			limit, period, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
			all = append(all, held(dir, "cpu.max", limit, period)...)
		}
	}
	for _, dir := range g.cpu {
		limit, err := os.ReadFile(dir + "/cpu.cfs_quota_us")
		period, err2 := os.ReadFile(dir + "/cpu.cfs_period_us")
		if err == nil && err2 == nil {
			all = append(all, held(dir, "cpu.cfs_quota_us", strings.TrimSpace(string(limit)), strings.TrimSpace(string(period)))...)
		}
	}
	return all
}

// held reads what a quota did. There is none where the limit is no number ("max"), or
// below zero.
func held(dir, file, limit, period string) []quota {
	of, err := strconv.ParseFloat(limit, 64)
	every, err2 := strconv.ParseFloat(period, 64)
	if err != nil || err2 != nil || of < 0 || every <= 0 {
		return nil
	}
	stat, err := os.ReadFile(dir + "/cpu.stat")
	if err != nil {
		return nil
	}
	return []quota{{filepath.Join(dir, file), of / every, keyed(stat, "nr_periods"), keyed(stat, "nr_throttled")}}
}

// throttle is what the quota did that held the process back most between two looks; nil:
// none did, or the one look tells nothing.
func throttle(before, now []quota, over time.Duration) (worst *path.Throttle) {
	for _, q := range now {
		for _, b := range before {
			if b.file != q.file || q.periods <= b.periods || q.throttled < b.throttled {
				continue
			}
			t := &path.Throttle{File: q.file, CPUs: q.cpus, Periods: q.periods - b.periods, Throttled: q.throttled - b.throttled, Over: over}
			if worst == nil || t.Share() > worst.Share() {
				worst = t
			}
		}
	}
	return worst
}

// pressure reads that of the process's own group, else the host's; nil: the kernel does
// not count it.
func (g groups) pressure() *path.Pressure {
	for _, dir := range append(slices.Clone(g.unified[:min(1, len(g.unified))]), "") {
		file := func(resource string) string { return dir + "/" + resource + ".pressure" }
		if dir == "" {
			file = func(resource string) string { return "/proc/pressure/" + resource }
		}
		p := path.Pressure{Of: dir}
		var errs [3]error
		p.CPU, errs[0] = someAvg10(file("cpu"))
		p.Memory, errs[1] = someAvg10(file("memory"))
		p.IO, errs[2] = someAvg10(file("io"))
		if errors.Join(errs[:]...) == nil {
			return &p
		}
	}
	return nil
}

// someAvg10 reads what psi_show in kernel/sched/psi.c writes: some avg10=0.00 avg60=...
func someAvg10(file string) (percent float64, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	value, _ := strings.CutPrefix(string(b), "some avg10=")
	value, _, _ = strings.Cut(value, " ")
	return strconv.ParseFloat(value, 64)
}
