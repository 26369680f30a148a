package agent

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tapwatch/internal/netns"
	"tapwatch/internal/proc"
)

// An agent in a container may not see what is outside. What it then cannot know is
// unknown, and said: by tapwatch_capability, in the log and on the page.

// The capabilities that a container takes away, under the names that the metric has.
const (
	hostPIDs    = "host_pids"
	hostMounts  = "host_mounts"
	hostCgroups = "host_cgroups"
)

// takesAway says what is not known without a capability, and what to do about it.
// historyOnDisk is the journal of what happened.
const historyOnDisk = "history_on_disk"

var takesAway = map[string]string{
	historyOnDisk: "the history of sandboxes ends with the agent, and what is gone for an hour is forgotten",
	hostPIDs: "processes outside this PID namespace are not seen: whether they hold a tap, run or have ended is unknown; " +
		"run the agent with the host's (hostPID: true, --pid=host)",
	hostMounts: "the names of network namespaces are not the host's: those without a name here are called net:[inode] where a process is in them, and are not seen otherwise; " +
		"mount the host's /run/netns, with what is mounted there later (mountPropagation: HostToContainer, -v /run/netns:/run/netns:rslave)",
	hostCgroups: "the cgroups of processes are named from the agent's own: what rules read from them (pod, allocation) may be missing; " +
		"run the agent in the host's cgroup namespace (--cgroupns=host), or let rules ask for the end of the path",
	"holder_iterator":   "who holds a tap is read from /proc, slowly; who holds a macvtap is unknown",
	"listener_iterator": "who listens is read in each namespace by itself; which process listens is unknown",
	"vmm_exits":         "how VMMs end is unknown",
	"hop_latency":       "the latency of hops is not measured",
	"cap_sys_ptrace":    "other users' processes cannot be looked into: their namespaces and taps are unknown",
	"cap_sys_admin":     "no namespace can be entered: the rules, routes and listeners in it are unknown",
}

// Lacks lists what the agent may not do here and what that takes away, a line each.
func (a *Agent) Lacks() (all []string) {
	have := a.capabilities()
	if a.cfg.NoHops { // nobody wants it
		delete(have, "hop_latency")
	}
	for name, have := range have {
		if text := takesAway[name]; !have && text != "" {
			all = append(all, name+": "+text)
		}
	}
	slices.Sort(all)
	return all
}

// sayLacks logs what a container takes away.
func (a *Agent) sayLacks() {
	for _, name := range []string{hostPIDs, hostMounts, hostCgroups} {
		if lack := a.lacks[name]; lack != nil {
			a.cfg.Log.Warn(takesAway[name], "missing", name, "why", lack)
		}
	}
}

// ContainerLacks lists what Look may not see here, a line each.
func ContainerLacks() (all []string) {
	_, lacks := containerLacks()
	for name, lack := range lacks {
		if lack != nil {
			all = append(all, name+": "+takesAway[name])
		}
	}
	slices.Sort(all)
	return all
}

// containerLacks says which pids /proc shows, and why each capability that a container
// may take away is lacking; nil: it is there. What nobody can tell is absent.
func containerLacks() (pids proc.Numbers, lacks map[string]error) {
	lacks = map[string]error{}
	pids, lacks[hostPIDs] = pidsHere()
	if pids.Inode == 0 || pids.KernelInode() != 0 {
		return pids, lacks // /proc shows no process of the host for sure
	}
	if lack, known := lacksMounts(); known {
		lacks[hostMounts] = lack
	}
	if lack, known := lacksCgroups(); known {
		lacks[hostCgroups] = lack
	}
	return pids, lacks
}

// pidsHere says which pids /proc shows, and what they lack to be those of the host.
func pidsHere() (pids proc.Numbers, lack error) {
	pids, err := proc.NumbersHere()
	switch {
	case err != nil:
		return pids, err
	case !pids.Own:
		return pids, errors.New("/proc shows another PID namespace than the agent's")
	case !pids.Host():
		return pids, errors.New("the agent is in a PID namespace of its own")
	}
	return pids, nil
}

// lacksMounts says why the names of namespaces here are not those of the host; known is
// false where nobody can tell.
func lacksMounts() (lack error, known bool) {
	own, err := os.Readlink("/proc/self/ns/mnt")
	host, hostErr := os.Readlink("/proc/2/ns/mnt") // kthreadd, which everybody may look into
	switch known := err == nil && hostErr == nil; {
	case !known:
		return nil, false
	case own == host:
		return nil, true
	}
	// A service of the host has mounts of its own too, and the host's come to it.
	var here, there unix.Stat_t
	if unix.Stat(netns.Dir, &here) == nil && unix.Stat("/proc/1/root"+netns.Dir, &there) == nil && (here.Dev != there.Dev || here.Ino != there.Ino) {
		return fmt.Errorf("%s is another directory than the host's", netns.Dir), true
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && !propagates(string(mounts), netns.Dir) {
		return fmt.Errorf("what the host mounts below %s does not come here", netns.Dir), true
	}
	return nil, err == nil
}

// lacksCgroups says why the cgroups of processes are not named as the host names them;
// known is false where nobody can tell. The kernel's threads are in the root.
func lacksCgroups() (lack error, known bool) {
	b, err := os.ReadFile("/proc/2/cgroup")
	if err != nil {
		return nil, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && strings.HasPrefix(f[2], "/..") {
			return errors.New("the agent is in a cgroup namespace of its own"), true
		}
	}
	return nil, true
}

// propagates says whether mounts that others make below a directory appear here too:
// whether the mount that the directory is in is shared or a slave, from
// show_mountinfo in fs/proc_namespace.c.
func propagates(mountinfo, dir string) (does bool) {
	best := ""
	for line := range strings.Lines(mountinfo) {
		mount, _, _ := strings.Cut(line, " - ")
		f := strings.Fields(mount)
		if len(f) < 6 || len(f[4]) < len(best) || f[4] != dir && !strings.HasPrefix(dir, strings.TrimSuffix(f[4], "/")+"/") {
			continue
		}
		best = f[4] // of several at one place the last one covers the others
		does = slices.ContainsFunc(f[6:], func(tag string) bool {
			return strings.HasPrefix(tag, "shared:") || strings.HasPrefix(tag, "master:")
		})
	}
	return does
}
