//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Lists who holds which tap: every open file that is a tun queue, with its
 * process, its device and both their namespaces.
 *
 * Hook: iter/task_file. Oldest kernel: 5.15. Writes: struct holder to the
 * iterator's stream, for each queue that is attached to a device.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "tapwatch.h"

/* /dev/net/tun, misc device 200 (include/linux/miscdevice.h), as the kernel's
 * own dev_t has it: 20 bits of minor. */
#define TUN_DEV ((10u << 20) | 200u)

/* Keeps the struct in the object's BTF, for bpf2go. */
const volatile struct holder holder_type = {};

SEC("iter/task_file")
int tap_holders(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct holder h = {};
	struct tun_file *tfile;
	struct net_device *dev;

	if (!task || !file)
		return 0;
	/* Plain loads: this much is done for every open file of the host. */
	if (file->f_inode->i_rdev != TUN_DEV)
		return 0;
	tfile = BPF_CORE_READ(file, private_data);
	dev = BPF_CORE_READ(tfile, tun, dev);
	if (!dev) /* opened, but no TUNSETIFF: holds nothing */
		return 0;
	h.tap_netns = BPF_CORE_READ(dev, nd_net.net, net_cookie);
	h.process_netns = BPF_CORE_READ(task, nsproxy, net_ns, net_cookie);
	h.ifindex = BPF_CORE_READ(dev, ifindex);
	h.pid = BPF_CORE_READ(task, tgid);
	h.fd = ctx->fd;
	BPF_CORE_READ_STR_INTO(&h.device, dev, name);
	BPF_CORE_READ_STR_INTO(&h.comm, task, comm);
	bpf_seq_write(ctx->meta->seq, &h, sizeof(h));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
