/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The few kernel types that the programs read, by name and field only: CO-RE
 * moves every access to where the running kernel has the field. Oldest kernel
 * looked at: 5.15. Sources: include/linux/skbuff.h, netdevice.h, fs.h, fdtable.h,
 * sched.h, sched/signal.h, pid.h, include/net/net_namespace.h, drivers/net/tun.c,
 * include/linux/if_tap.h, drivers/net/tap.c,
 * include/uapi/linux/bpf.h.
 *
 * Licence: the kernel is GPL-2.0, and a vmlinux.h that bpftool dumps from a
 * kernel's BTF carries no licence of its own. This file is no such dump. It was
 * written by hand and takes from the kernel names, types and constants only,
 * which a program must spell alike to find the fields; no code and no comment. So
 * it has the licence of the programs, as cilium/ebpf has the like of it under
 * BSD-2-Clause (examples/headers/common.h). Whoever doubts that names alone may be
 * relicensed takes GPL-2.0-only. flow_kernel.h and headers.h are of the same kind.
 */
#ifndef TAPWATCH_VMLINUX_H
#define TAPWATCH_VMLINUX_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u64 u64;
typedef __u32 u32;
typedef __u32 dev_t;
typedef int pid_t;
typedef unsigned int sk_buff_data_t; /* of 64-bit kernels: an offset from head */

enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
	BPF_MAP_TYPE_RINGBUF = 27,
};

enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
	BPF_F_MMAPABLE = 1 << 10,
};

/* UAPI: the offsets are fixed, no relocation. */
struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_tci;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct net {
	u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};

struct sock; /* fields of it: where they are read */

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len;
	int skb_iif;
	__be16 protocol;
	__u16 mac_header;
	sk_buff_data_t tail;
	unsigned char *head;
	unsigned char *data;
};

struct nsproxy {
	struct net *net_ns;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live; /* threads */
};

struct task_struct {
	pid_t tgid;
	int exit_code;
	char comm[16];
	struct task_struct *group_leader;
	struct pid *thread_pid; /* fields of it: pids.h */
	struct signal_struct *signal;
	struct nsproxy *nsproxy;
	struct task_struct *real_parent;
	struct files_struct *files;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct inode {
	dev_t i_rdev;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct tun_struct {
	struct net_device *dev;
};

struct tun_file {
	struct tun_struct *tun;
};

struct tap_dev {
	struct net_device *dev;
};

struct tap_queue {
	struct tap_dev *tap;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

#pragma clang attribute pop

#endif
