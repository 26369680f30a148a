//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts what a tap loses: frames to the guest that the kernel drops, by reason,
 * and TCP segments that have to be sent again.
 *
 * Hooks: tp_btf/kfree_skb (with a reason since 5.17), tp_btf/tcp_retransmit_skb.
 * Each is loaded where the running kernel has it with these arguments.
 * Reads: taps. Writes: drops, active, taps (values only).
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "tapwatch.h"
#include "maps.h"

#define TCP_SYN_SENT 2 /* include/net/tcp_states.h */

struct dst_entry {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct sock_common {
	volatile unsigned char skc_state;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
	struct dst_entry *sk_dst_cache;
} __attribute__((preserve_access_index));

static __always_inline struct drops *drops_of(struct key *device)
{
	struct drops none = {};
	struct drops *d = bpf_map_lookup_elem(&drops, device);

	if (d)
		return d;
	bpf_map_update_elem(&drops, device, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&drops, device);
}

/* kfree_skb(skb, location, reason, ...) */
SEC("tp_btf/kfree_skb")
int tap_drops(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	__u32 reason = ctx[2];
	struct net_device *dev = skb->dev;
	struct key device = {};
	struct drops *d;

	if (!dev)
		return 0;
	device.netns = dev->nd_net.net->net_cookie;
	device.ifindex = dev->ifindex;
	/* What came in by the tap is dropped on its way up: no loss to the guest. */
	if (skb->skb_iif == device.ifindex || !bpf_map_lookup_elem(&taps, &device))
		return 0;
	d = drops_of(&device);
	if (!d)
		return 0;
	note_activity(&device, bpf_ktime_get_ns());
#pragma unroll
	for (int i = 0; i < DROP_REASONS; i++) {
		if (d->of[i].count && d->of[i].reason != reason)
			continue;
		d->of[i].reason = reason;
		d->of[i].count++;
		return 0;
	}
	d->other++;
	return 0;
}

/* tcp_retransmit_skb(sk, skb, ...) of a socket whose route leaves by a tap; SYNs
 * are counted where they pass the tap. */
SEC("tp_btf/tcp_retransmit_skb")
int tap_retransmits(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct net_device *dev;
	struct dst_entry *dst;
	struct key device = {};
	struct stats *s;

	if (sk->__sk_common.skc_state == TCP_SYN_SENT)
		return 0;
	dst = sk->sk_dst_cache;
	if (!dst)
		return 0;
	dev = dst->dev;
	device.netns = dev->nd_net.net->net_cookie;
	device.ifindex = dev->ifindex;
	s = bpf_map_lookup_elem(&taps, &device);
	if (s) {
		note_activity(&device, bpf_ktime_get_ns());
		s->retransmits++;
	}
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
