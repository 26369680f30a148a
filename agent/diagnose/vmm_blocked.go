package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapwatch/agent/path"
)

// blockedAlone is how long a thread of a VMM may wait in the kernel before that is worth
// a warning though no request waits.
const blockedAlone = 10 * time.Second

var vmmBlocked = Check{
	Code:      "vmm-blocked",
	Title:     "The VMM waits in the kernel, for its storage or its memory",
	Hop:       path.Guest,
	Severity:  path.Critical,
	DependsOn: append([]string{"vmm-stopped", "vmm-paused"}, tapFaults...),
	InBoot:    true,
	Run: func(f path.Facts) Result {
		t, ok := blockedThread(f)
		if !ok {
			return notApplicable()
		}
		since := f.Now.Sub(t.Since)
		waits := asksInVain(f)
		if since <= Patience || !waits && since <= blockedAlone {
			return notApplicable()
		}
		forWhat, fix := blockedWords(f, t)
		finding := path.Finding{
			Cause: fmt.Sprintf("the VMM (pid %d) waits for %s: its thread %s has not run for %s", f.Sandbox.VMMPID, forWhat, t.Command, inWords(since)),
			Evidence: append([]string{fmt.Sprintf("its thread %d waits in the kernel, in %s (state %s in /proc/%d/task/%[1]d/stat)", t.TID, cmp.Or(t.Where, "a function that the agent may not read"), t.State, f.Sandbox.VMMPID)},
				pressureEvidence(f)...),
			Fix: fix,
		}
		if f.Traffic != nil {
			finding.Evidence = append(finding.Evidence, unansweredEvidence(f)...)
		}
		if !waits {
			finding.Severity = path.Warning
		}
		return wrong(finding)
	},
}

// blockedThread is the thread of the VMM that has waited longest for what the kernel does
// for it. One whose page fault a program is to answer sleeps as if by itself.
func blockedThread(f path.Facts) (path.StuckThread, bool) {
	if f.Sandbox.Process == nil || f.Sandbox.VMMAlive == path.No {
		return path.StuckThread{}, false
	}
	stuck := f.Sandbox.Process.Stuck // the longest first
	i := slices.IndexFunc(stuck, func(t path.StuckThread) bool { return t.State == "D" || t.Where == path.FaultsByUser })
	if i < 0 {
		return path.StuckThread{}, false
	}
	return stuck[i], true
}

// Parts of the names of the kernel's functions in which one waits for a disk, and for
// memory.
var (
	storageWaits = []string{"io_schedule", "blk_", "bio_", "rq_qos", "nbd", "folio_wait", "wait_on_page", "wait_on_buffer", "wait_on_bit", "jbd2", "ext4", "xfs", "btrfs",
		"nfs", "rpc_", "fuse", "request_wait", "dm_", "md_", "balance_dirty", "sync_", "iomap", "writeback"}
	memoryWaits = []string{"mem_cgroup", "reclaim", "swap", "shrink", "compact", "alloc_pages", "oom"}
)

// blockedWords says what a thread waits for, as far as the kernel's function tells, and
// what to do.
func blockedWords(f path.Facts, t path.StuckThread) (forWhat, fix string) {
	in := func(parts []string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(t.Where, p) })
	}
	pid := f.Sandbox.VMMPID
	switch {
	case t.Where == path.FaultsByUser:
		return "a page of its memory that its page-fault handler (userfaultfd) does not give it",
			"see whether the handler still runs, a part of the launcher that resumed the snapshot, and what it waits for (its log, the storage of the snapshot); if it has ended the guest's memory is lost: " + anew(f)
	case in(memoryWaits):
		return "memory", "see memory.high, memory.max and memory.events of its control group (" + cmp.Or(cgroupOf(f), "cat /proc/"+fmt.Sprint(pid)+"/cgroup") + ") and the host's free memory and swap: give it more, or run fewer sandboxes"
	case in(storageWaits):
		return "its storage", fmt.Sprintf("see which disk hangs (ls -l /proc/%d/fd, iostat -x 1, the kernel log): a network block device (nbd) or a network file system whose server does not answer looks so; the VMM goes on by itself once that is mended", pid)
	}
	return "the kernel", fmt.Sprintf("see where (cat /proc/%d/task/%d/stack, the kernel log for hung tasks): mostly a disk or a network block device that hangs, or a freezer of version 1 that is not mounted where the agent runs", pid, t.TID)
}

func cgroupOf(f path.Facts) string {
	if f.Sandbox.Process == nil {
		return ""
	}
	return f.Sandbox.Process.Cgroup.Path
}

// pressureEvidence is what the kernel counts of waiting for resources.
func pressureEvidence(f path.Facts) []string {
	if f.Sandbox.Process == nil || f.Sandbox.Process.Pressure == nil {
		return nil
	}
	p := f.Sandbox.Process.Pressure
	return []string{fmt.Sprintf("pressure of %s, in the last 10 s: waited for a CPU in %.0f%% of the time, for memory in %.0f%%, for disks in %.0f%%",
		cmp.Or(p.Of, "the host"), p.CPU, p.Memory, p.IO)}
}
