//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Lists the listening TCP sockets of all processes in all namespaces: no
 * namespace need be entered for it.
 *
 * Hook: iter/task_file. Oldest kernel: 5.15. Writes: struct listener to the
 * iterator's stream, for each file that is such a socket. A socket that several
 * processes share is written for each of them.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* from include/uapi/linux/in.h, include/net/tcp_states.h, include/linux/socket.h */
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262 /* what Go's listeners are by default */
#define TCP_LISTEN 10
#define AF_INET6 10

/* What is read of the kernel's own; the names' ends keep them apart from vmlinux.h's. */
struct in6_addr___l {
	__u8 bytes[16];
};

struct sock_common___l {
	__u32 skc_rcv_saddr;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	struct {
		struct net *net;
	} skc_net;
	struct in6_addr___l skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));

struct sock___l {
	struct sock_common___l __sk_common;
	__u16 sk_protocol;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
} __attribute__((preserve_access_index));

struct socket___l {
	struct sock___l *sk;
} __attribute__((preserve_access_index));

/* Where its listening socket is MPTCP's, the queue is that of the first subflow. */
struct mptcp_sock___l {
	struct sock___l *first;
} __attribute__((preserve_access_index));

/* One listening socket. */
struct listener {
	__u64 netns; /* cookie of its namespace */
	__u8 addr[16]; /* IPv4 in the first four bytes */
	__u32 pid; /* of the process, in the numbers of the initial pid namespace */
	__u32 waiting; /* connections that are made and wait to be accepted */
	__u32 most; /* that may wait */
	__u16 port; /* host order */
	__u8 ipv6;
	__u8 only6; /* takes no IPv4 (IPV6_V6ONLY) */
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const volatile struct listener listener_type = {};

SEC("iter/task_file")
int tcp_listeners(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct listener l = {};
	struct socket___l *socket;
	struct sock___l *sk;
	__u16 protocol;

	if (!task || !file)
		return 0;
	socket = (struct socket___l *)bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)
		return 0;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	l.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	l.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	l.pid = task->tgid;
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		l.ipv6 = 1;
		l.only6 = BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only);
		BPF_CORE_READ_INTO(&l.addr, sk, __sk_common.skc_v6_rcv_saddr);
	} else {
		BPF_CORE_READ_INTO((__u32 *)l.addr, sk, __sk_common.skc_rcv_saddr);
	}
	if (protocol == IPPROTO_MPTCP && bpf_core_field_exists(struct mptcp_sock___l, first))
		sk = BPF_CORE_READ((struct mptcp_sock___l *)sk, first);
	if (sk) {
		l.waiting = BPF_CORE_READ(sk, sk_ack_backlog);
		l.most = BPF_CORE_READ(sk, sk_max_ack_backlog);
	}
	bpf_seq_write(ctx->meta->seq, &l, sizeof(l));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
