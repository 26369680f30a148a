//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Lists who holds which tap: every open file that is a queue of a tun, macvtap or
 * ipvtap device, with its process, its device and both their namespaces.
 *
 * Hook: iter/task_file. Oldest kernel: 5.15. Writes: struct holder to the
 * iterator's stream, for each queue that is attached to a device.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "pids.h"
#include "tapwatch.h"

/* /dev/net/tun, misc device 200 (include/linux/miscdevice.h), as the kernel's
 * own dev_t has it: 20 bits of minor. */
#define TUN_DEV ((10u << 20) | 200u)

/* The numbers that the kernel gave to the character devices of macvtap and ipvtap,
 * 0: it has none. They are written before each reading: either may be a module. */
__u32 tap_majors[2];

/* Keeps the struct in the object's BTF, for bpf2go. */
const volatile struct holder holder_type = {};

static __always_inline int is_tap(dev_t dev)
{
	__u32 major = dev >> 20;

	return major && (major == tap_majors[0] || major == tap_majors[1]);
}

SEC("iter/task_file")
int tap_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct holder h = {};
	struct net_device *dev;
	dev_t rdev;

	if (!task || !file)
		return 0;
	/* Plain loads: this much is done for every open file of the host. */
	rdev = file->f_inode->i_rdev;
	if (rdev == TUN_DEV) {
		struct tun_file *tfile = BPF_CORE_READ(file, private_data);

		dev = BPF_CORE_READ(tfile, tun, dev);
	} else if (bpf_core_type_exists(struct tap_queue) && is_tap(rdev)) {
		struct tap_queue *q = BPF_CORE_READ(file, private_data);

		dev = BPF_CORE_READ(q, tap, dev);
	} else {
		return 0;
	}
	if (!dev) /* opened, but no TUNSETIFF, or the device has gone: holds nothing */
		return 0;
	h.tap_netns = BPF_CORE_READ(dev, nd_net.net, net_cookie);
	h.process_netns = BPF_CORE_READ(task, nsproxy, net_ns, net_cookie);
	h.ifindex = BPF_CORE_READ(dev, ifindex);
	h.pid = pid_of(task);
	h.fd = ctx->fd;
	BPF_CORE_READ_STR_INTO(&h.device, dev, name);
	BPF_CORE_READ_STR_INTO(&h.comm, task, comm);
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
