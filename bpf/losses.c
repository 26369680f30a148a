//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Counts what a tap loses: frames to the guest that the kernel drops, by reason,
 * and TCP segments that have to be sent again. And wherever the host drops packets
 * of the service's port: why, at which function, and which way they went.
 *
 * Hooks: tp_btf/kfree_skb (with a reason since 5.17), tp_btf/tcp_retransmit_skb.
 * Each is loaded where the running kernel has it with these arguments.
 * Reads: taps. Writes: drops, active, taps (values only), path_drops,
 * path_drop_sums.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "headers.h"
#include "tapwatch.h"
#include "maps.h"

#define TCP_SYN_SENT 2 /* include/net/tcp_states.h */

struct dst_entry {
	struct net_device *dev;
} __attribute__((preserve_access_index));

struct sock_common {
	volatile unsigned char skc_state;
	possible_net_t skc_net;
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

/* The part of a sk_buff that only drops look at. */
struct sk_buff___dropped {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst; /* a dst_entry, the lowest bit a flag */
	int skb_iif;
	__be16 protocol;
	__u16 network_header;
	unsigned char *head;
} __attribute__((preserve_access_index));

#define SKB_DST_NOREF 1UL

const volatile __u16 service_port = 49983;
const volatile __u8 has_reason = 1; /* the tracepoint gives one */

#define NO_LOSSES 8

/* Reasons by which nothing is lost, as this kernel numbers them; ~0: none. */
const volatile __u32 no_losses[NO_LOSSES] = {};

/* One place where packets of one path and direction are dropped. */
struct drop_place {
	__u64 netns;	/* cookie; 0: unknown */
	__u64 location; /* in the kernel's text */
	__be32 addr;	/* of the end with the service's port */
	__u32 ifindex;	/* 0: unknown */
	__u32 reason;	/* 0: the kernel tells none */
	__u32 back;	/* 1: sent from the service's port, 0: to it */
};

#define SYMBOL_LEN 64

/* A run of drops: a pause of DROPS_PAUSE ends it, and the next one begins anew. */
struct drop_run {
	__u64 count;
	__u64 first;
	__u64 last;
	__u8 symbol[SYMBOL_LEN];
};

#define DROPS_PAUSE (10 * 1000 * 1000 * 1000ull)

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, struct drop_place);
	__type(value, struct drop_run);
} path_drops SEC(".maps");

struct drop_kind {
	__u32 reason;
	__u32 back;
};

/* All of them, of the whole host: few kinds, and none is forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, struct drop_kind);
	__type(value, __u64);
} path_drop_sums SEC(".maps");

static __always_inline void add_to_sum(struct drop_kind *kind)
{
	__u64 none = 0;
	__u64 *n = bpf_map_lookup_elem(&path_drop_sums, kind);

	if (!n) {
		bpf_map_update_elem(&path_drop_sums, kind, &none, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&path_drop_sums, kind);
	}
	if (n)
		(*n)++;
}

/* Where a packet is. The host's own has no device before it is routed out, but a
 * socket or a route; one that crosses a veth may keep its sender's socket. */
static __always_inline void locate(struct sk_buff___dropped *skb, struct drop_place *at)
{
	struct net_device *dev = BPF_CORE_READ(skb, dev);
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct dst_entry *dst = (void *)(BPF_CORE_READ(skb, _skb_refdst) & ~SKB_DST_NOREF);

	if (!dev && !sk && dst)
		dev = BPF_CORE_READ(dst, dev);
	if (dev) {
		at->netns = BPF_CORE_READ(dev, nd_net.net, net_cookie);
		at->ifindex = BPF_CORE_READ(dev, ifindex);
	} else if (sk) {
		at->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
		if (dst)
			at->ifindex = BPF_CORE_READ(dst, dev, ifindex);
	}
}

/* Whether it is a TCP segment of the service, and of which end and direction. */
static __always_inline int is_of_service(struct sk_buff___dropped *skb, struct drop_place *at)
{
	unsigned char *header;
	struct ip_header ip;
	struct tcp_header tcp;

	if (BPF_CORE_READ(skb, protocol) != bpf_htons(ETH_P_IP))
		return 0;
	header = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	if (bpf_probe_read_kernel(&ip, sizeof(ip), header))
		return 0;
	if (ip.version_ihl >> 4 != 4 || ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(IP_OFFSET_MASK))
		return 0;
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), header + (ip.version_ihl & 0xf) * 4))
		return 0;
	if (tcp.dport == bpf_htons(service_port)) {
		at->addr = ip.daddr;
	} else if (tcp.sport == bpf_htons(service_port)) {
		at->addr = ip.saddr;
		at->back = 1;
	} else {
		return 0;
	}
	return 1;
}

/* kfree_skb(skb, location, reason, ...), of any device or none */
SEC("tp_btf/kfree_skb")
int count_path_drops(u64 *ctx)
{
	struct sk_buff___dropped *skb = (void *)ctx[0];
	struct drop_place at = {};
	struct drop_run *run, fresh = { .count = 1 };
	struct drop_kind kind = {};
	__u64 now;

	if (has_reason) {
		at.reason = ctx[2];
#pragma unroll
		for (int i = 0; i < NO_LOSSES; i++)
			if (at.reason == no_losses[i])
				return 0;
	}
	if (!is_of_service(skb, &at))
		return 0;
	locate(skb, &at);
	at.location = ctx[1];
	kind.reason = at.reason;
	kind.back = at.back;
	add_to_sum(&kind);
	now = bpf_ktime_get_ns();
	run = bpf_map_lookup_elem(&path_drops, &at);
	if (!run) {
		fresh.first = fresh.last = now;
		/* The kernel names the place itself: no reading of kallsyms, no CAP_SYSLOG. */
		BPF_SNPRINTF((char *)fresh.symbol, sizeof(fresh.symbol), "%ps", at.location);
		bpf_map_update_elem(&path_drops, &at, &fresh, BPF_NOEXIST);
		return 0;
	}
	if (now - run->last > DROPS_PAUSE && now > run->last) { /* CPUs may overtake each other */
		run->count = 0;
		run->first = now;
	}
	run->last = now;
	__sync_fetch_and_add(&run->count, 1);
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
