//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Tells when a TCP socket begins to listen on one of the ports that are watched,
 * or ceases to, in any namespace.
 *
 * Hook: tp_btf/inet_sock_set_state. Oldest kernel: 5.15. Writes: struct listens
 * to the ring buffer. A connection's other states cost it two comparisons.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define TCP_LISTEN 10 /* from include/net/tcp_states.h */

/* What is read of the kernel's own. */
struct sock_common___s {
	__u16 skc_num; /* the local port, in host order */
	struct {
		struct net *net;
	} skc_net;
} __attribute__((preserve_access_index));

struct sock___s {
	struct sock_common___s __sk_common;
} __attribute__((preserve_access_index));

/* A socket that began or ceased to listen. */
struct listens {
	__u64 netns; /* cookie of its namespace */
	__u16 port;  /* host order */
	__u8 begins;
	__u8 pad[5];
};

/* Keeps the struct in the object's BTF, for bpf2go. */
const volatile struct listens listens_type = {};

/* The ports, in host order. */
const volatile __u16 relay_port = 0;
const volatile __u16 proxy_port = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} told SEC(".maps");

/* What found no place. */
__u64 lost = 0;

SEC("tp_btf/inet_sock_set_state")
int state_set(u64 *ctx)
{
	struct sock___s *sk = (struct sock___s *)ctx[0];
	int from = ctx[1], to = ctx[2];
	struct listens *l;
	__u16 port;

	if (from != TCP_LISTEN && to != TCP_LISTEN)
		return 0;
	port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (port != relay_port && port != proxy_port)
		return 0;
	l = bpf_ringbuf_reserve(&told, sizeof(*l), 0);
	if (!l) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	__builtin_memset(l, 0, sizeof(*l));
	l->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	l->port = port;
	l->begins = to == TCP_LISTEN;
	bpf_ringbuf_submit(l, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
