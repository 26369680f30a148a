//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Tells when a watched process ends, and how. The tracepoint stands before the
 * kernel closes the process's files: a VMM that dies is told of before its tap
 * loses the carrier.
 *
 * Hook: tp_btf/sched_process_exit. Oldest kernel: 5.15. Reads: watched.
 * Writes: struct exit to the ring buffer, once for each watched process.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* One process that ended. */
struct exit {
	__u64 time; /* bpf_ktime_get_ns */
	__u32 pid;  /* of the process (tgid) in the initial pid namespace */
	__u32 code; /* as wait(2) has it: status << 8, or the signal */
	__u8 comm[16];
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const volatile struct exit exit_type = {};

/* Pids of the processes to tell of. Those that ended are taken out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, __u8);
} watched SEC(".maps");

/* 48 bytes an exit with the kernel's header: 5,000 at once find a place. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} exits SEC(".maps");

/* Exits that found no place. */
__u64 lost = 0;

SEC("tp_btf/sched_process_exit")
int process_exit(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	__u32 pid = task->tgid;
	struct exit *e;

	if (!bpf_map_lookup_elem(&watched, &pid))
		return 0;
	if (BPF_CORE_READ(task, signal, live.counter)) /* other threads live on */
		return 0;
	bpf_map_delete_elem(&watched, &pid);
	e = bpf_ringbuf_reserve(&exits, sizeof(*e), 0);
	if (!e) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	e->time = bpf_ktime_get_ns();
	e->pid = pid;
	e->code = task->exit_code;
	BPF_CORE_READ_STR_INTO(&e->comm, task, group_leader, comm);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
