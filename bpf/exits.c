//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tells when a watched process ends, and how, and when it is stopped. The end is
 * told before the kernel closes the process's files: whether it then still held
 * a tap says which went first, the process or the carrier. And when a process kicks
 * threads of its own by a real-time signal, as Firecracker does with its vCPUs as it
 * pauses and resumes them.
 *
 * Hooks: tp_btf/sched_process_exit, tp_btf/signal_generate. Oldest kernel: 5.15.
 * Reads: watched. Writes: watched (values only), and struct told to the ring
 * buffer: once for each watched process that ends, and for each signal to stop or
 * to go on, or in 20 ms of kicks.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "pids.h"

/* /dev/net/tun, as holders.c has it. */
#define TUN_DEV ((10u << 20) | 200u)

/* How many of a process's files are looked at for a tap: VMMs have fewer. */
#define FILES_LOOKED_AT 512

/* How far up a launcher is looked for: E2B's has unshare, bash and ip between. */
#define ANCESTORS 8

/* from include/uapi/asm-generic/signal.h; of all architectures that KVM is on */
#define SIGCHLD 17
#define SIGCONT 18
#define SIGSTOP 19
#define SIGTTOU 22
#define SIGURG 23
#define SIGWINCH 28
#define SIGRTMIN 34 /* those below are the C libraries' own */

/* In nanoseconds: a pause kicks each vCPU, and is told of once. */
#define KICKS_APART 20000000

/* from include/linux/sched/signal.h: a signal that the kernel itself sends */
#define SEND_SIG_PRIV 1

enum tale {
	TALE_ENDED,
	TALE_STOPPED,
	TALE_GOES_ON,
	TALE_KICKED,
	TALE_LEN,
};

/* Who sent the signal that a process died of. */
enum sender {
	SENDER_UNKNOWN,
	SENDER_KERNEL,	 /* out of memory above all */
	SENDER_ITSELF,	 /* a fault, or abort */
	SENDER_ANCESTOR, /* its launcher, or pid 1 */
	SENDER_OTHER,
	SENDER_LEN,
};

/* Whether a process that ended held a tap to its end. */
enum held {
	HELD_UNKNOWN,
	HELD_NONE,
	HELD_TAP,
	HELD_LEN,
};

/* What happened to a process. */
struct told {
	__u64 time; /* bpf_ktime_get_ns */
	__u32 pid;  /* of the process (tgid), as /proc has it */
	__u32 code; /* as wait(2) has it: status << 8, or the signal; of an end */
	__u8 comm[16];
	__u32 sender; /* its pid, where it is ancestor or other; 0: /proc does not show it */
	__u8 tale;    /* enum tale */
	__u8 by;      /* enum sender */
	__u8 held;    /* enum held */
	__u8 pad;
	__u8 sender_comm[16];
};

/* The last signal that a watched process got, and when its kicks were told of last. */
struct fate {
	__u64 kicked; /* bpf_ktime_get_ns; 0: never */
	__u32 signal; /* 0: none */
	__u32 sender;
	__u8 comm[16];
	__u8 by;
	__u8 pad[3];
};

/* Keep the types in the object's BTF, for bpf2go. */
const volatile struct told told_type = {};
const volatile enum tale tale_type = TALE_ENDED;
const volatile enum sender sender_type = SENDER_UNKNOWN;
const volatile enum held held_type = HELD_UNKNOWN;

/* Pids of the processes to tell of, as /proc has them. Those that ended are taken out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct fate);
} watched SEC(".maps");

/* 64 bytes an end with the kernel's header: 4,000 at once find a place. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} exits SEC(".maps");

/* What found no place. */
__u64 lost = 0;

static __always_inline struct told *tell(struct task_struct *task, enum tale tale)
{
	struct told *t = bpf_ringbuf_reserve(&exits, sizeof(*t), 0);

	if (!t) {
		__sync_fetch_and_add(&lost, 1);
		return NULL;
	}
	__builtin_memset(t, 0, sizeof(*t));
	t->time = bpf_ktime_get_ns();
	t->pid = pid_of(task);
	t->tale = tale;
	BPF_CORE_READ_STR_INTO(&t->comm, task, group_leader, comm);
	return t;
}

/* An open /dev/net/tun holds no tap before TUNSETIFF, nor where that was refused. */
static __always_inline int is_attached(struct file *file)
{
	struct tun_file *tfile;

	if (!bpf_core_type_exists(struct tun_file))
		return 1;
	tfile = BPF_CORE_READ(file, private_data);
	return tfile && BPF_CORE_READ(tfile, tun) != NULL;
}

static __always_inline enum held holds_tap(struct task_struct *task)
{
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(fdt, fd);
	__u32 n = BPF_CORE_READ(fdt, max_fds);

	if (!fdt || !files)
		return HELD_UNKNOWN;
	for (__u32 i = 0; i < FILES_LOOKED_AT; i++) {
		struct file *file = NULL;

		if (i >= n)
			return HELD_NONE;
		if (bpf_probe_read_kernel(&file, sizeof(file), files + i))
			return HELD_UNKNOWN;
		if (file && BPF_CORE_READ(file, f_inode, i_rdev) == TUN_DEV && is_attached(file))
			return HELD_TAP;
	}
	return HELD_UNKNOWN;
}

SEC("tp_btf/sched_process_exit")
int process_exit(u64 *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx[0];
	__u32 pid = pid_of(task);
	struct fate *found = bpf_map_lookup_elem(&watched, &pid);
	struct fate fate;
	struct told *t;

	if (!found)
		return 0;
	if (BPF_CORE_READ(task, signal, live.counter)) /* other threads live on */
		return 0;
	fate = *found;
	/* Threads that are killed at once may both see that none lives on: one of them tells. */
	if (bpf_map_delete_elem(&watched, &pid))
		return 0;
	t = tell(task, TALE_ENDED);
	if (t) {
		t->code = task->exit_code;
		t->held = holds_tap(task);
		if (t->code & 0x7f && (t->code & 0x7f) == fate.signal) {
			t->by = fate.by;
			t->sender = fate.sender;
			__builtin_memcpy(t->sender_comm, fate.comm, sizeof(fate.comm));
		}
		bpf_ringbuf_submit(t, 0);
	}
	return 0;
}

static __always_inline int is_ancestor(struct task_struct *task, __u32 pid)
{
	for (int i = 0; i < ANCESTORS; i++) {
		task = BPF_CORE_READ(task, real_parent);
		if (!task)
			return 0;
		if (BPF_CORE_READ(task, tgid) == pid)
			return 1;
	}
	return 0;
}

SEC("tp_btf/signal_generate")
int signal_sent(u64 *ctx)
{
	__u32 signal = ctx[0];
	struct task_struct *task = (struct task_struct *)ctx[2];
	__u32 sender = bpf_get_current_pid_tgid() >> 32;
	struct fate *fate;
	struct told *t;
	__u32 pid;

	if (signal == SIGURG || signal == SIGCHLD || signal == SIGWINCH)
		return 0; /* they do nothing by default, and Go's come by the thousand */
	pid = pid_of(task);
	fate = bpf_map_lookup_elem(&watched, &pid);
	if (!fate)
		return 0;
	if (signal >= SIGCONT && signal <= SIGTTOU) {
		t = tell(task, signal == SIGCONT ? TALE_GOES_ON : TALE_STOPPED);
		if (t)
			bpf_ringbuf_submit(t, 0);
		return 0;
	}
	if (signal >= SIGRTMIN && sender == task->tgid) {
		__u64 now = bpf_ktime_get_ns();

		if (now - fate->kicked < KICKS_APART)
			return 0;
		fate->kicked = now;
		t = tell(task, TALE_KICKED);
		if (t)
			bpf_ringbuf_submit(t, 0);
		return 0;
	}
	fate->signal = signal;
	fate->sender = pid_of((struct task_struct *)bpf_get_current_task());
	bpf_get_current_comm(fate->comm, sizeof(fate->comm));
	if (ctx[1] == SEND_SIG_PRIV)
		fate->by = SENDER_KERNEL;
	else if (sender == task->tgid)
		fate->by = SENDER_ITSELF;
	else
		fate->by = is_ancestor(task, sender) ? SENDER_ANCESTOR : SENDER_OTHER;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
