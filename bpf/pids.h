/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The number that user space has for a process. In a container /proc shows the
 * numbers of the container's own PID namespace, and the kernel's task->tgid is
 * that of the initial one. Kernel source: struct pid, include/linux/pid.h.
 */
#ifndef TAPWATCH_PIDS_H
#define TAPWATCH_PIDS_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>

/* from include/linux/pid_namespace.h */
#define MAX_PID_NS_LEVEL 32

struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));

struct pid_namespace {
	struct ns_common ns;
} __attribute__((preserve_access_index));

struct upid {
	int nr;
	struct pid_namespace *ns;
} __attribute__((preserve_access_index));

struct pid {
	unsigned int level;
	struct upid numbers[1];
} __attribute__((preserve_access_index));

/* Inode of the PID namespace that /proc shows; 0: the initial one. */
const volatile __u32 pid_ns = 0;

/* pid_of returns the number of the process of a task, 0 where /proc has none. */
static __always_inline __u32 pid_of(struct task_struct *task)
{
	struct pid *pid;
	__u32 level;

	if (!pid_ns)
		return BPF_CORE_READ(task, tgid);
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	if (!pid)
		return 0;
	level = BPF_CORE_READ(pid, level);
	for (__u32 i = 0; i <= MAX_PID_NS_LEVEL; i++) {
		void *numbers = __builtin_preserve_access_index(&pid->numbers);
		struct upid *at = numbers + i * bpf_core_type_size(struct upid);
		__u32 of = i;

		/* Else clang compares i with the lesser of both bounds, which the verifier
		 * of Linux 6.1 does not know: to it the loop has no end. */
		barrier_var(of);
		if (of > level)
			break;
		if (BPF_CORE_READ(at, ns, ns.inum) == pid_ns)
			return BPF_CORE_READ(at, nr);
	}
	return 0;
}

#endif
