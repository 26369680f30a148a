//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Measures a tap: what its guest and the host send each other, and how long the
 * guest takes to answer a SYN.
 *
 * Hook: tc (clsact) ingress and egress of the tap, or TCX. Oldest kernel: 5.15.
 * Reads: taps (a device that is not registered there is passed by).
 * Writes: taps (values only), syns.
 *
 * Verdicts are never changed: both programs return TC_ACT_UNSPEC, which is also
 * TCX_NEXT, so whatever stands behind runs as if they were not there.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "tapwatch.h"

#define TC_ACT_UNSPEC (-1)
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define IPPROTO_TCP 6
#define ETH_HLEN 14
#define IP_OFFSET_MASK 0x1fff

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ARP_REQUEST 1
#define ARP_REPLY 2

struct arp_header {
	__be16 hardware_type;
	__be16 protocol_type;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_hardware[6];
	__u8 sender[4];
	__u8 target_hardware[6];
	__u8 target[4];
};

struct ip_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__be16 check;
	__be32 saddr;
	__be32 daddr;
};

struct tcp_header {
	__be16 sport;
	__be16 dport;
	__be32 seq;
	__be32 ack;
	__u8 data_offset;
	__u8 flags;
};

const volatile __u16 envd_port = 49983;
/* Keeps the enum in the object's BTF, for bpf2go. */
const volatile enum direction direction_type = RECEIVE;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* 10,000 slots, but few on most hosts */
	__uint(max_entries, 16384);
	__type(key, struct key);
	__type(value, struct stats);
} taps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct syn_key);
	__type(value, struct syn_value);
} syns SEC(".maps");

/*
 * The cookie of the device's namespace. bpf_get_netns_cookie will not do: it asks
 * the packet's socket, and gives the initial namespace's for a packet without one
 * (ARP, what is forwarded). The context is read as the sk_buff that it is at run
 * time; bpf_probe_read_kernel takes any address, and a wrong one reads as an
 * error, not as a crash.
 */
static __always_inline __u64 netns_cookie(struct __sk_buff *ctx)
{
	return BPF_CORE_READ((struct sk_buff *)(void *)ctx, dev, nd_net.net, net_cookie);
}

static __always_inline __u32 latency_bucket(__u64 ns)
{
	__u64 us = ns / 1000;

#pragma unroll
	for (__u32 i = 0; i < LATENCY_BUCKETS - 1; i++)
		if (us < (1ULL << i)) /* whole microseconds: below 2^i is at most 2^i */
			return i;
	return LATENCY_BUCKETS - 1;
}

/* An announcement asks nobody and answers nobody: its sender is its target. */
static __always_inline int is_announcement(struct arp_header *arp)
{
	return *(__be32 *)arp->sender == *(__be32 *)arp->target;
}

static __always_inline void count_arp(struct __sk_buff *ctx, struct stats *s,
				      enum direction dir, __u64 now)
{
	struct arp_header arp;

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, &arp, sizeof(arp)) || is_announcement(&arp))
		return;
	if (dir == TRANSMIT && arp.operation == bpf_htons(ARP_REQUEST)) {
		s->arp_requests++;
		s->last_arp_request = now;
	} else if (dir == RECEIVE && arp.operation == bpf_htons(ARP_REPLY)) {
		s->arp_replies++;
		s->last_arp_reply = now;
	}
}

/* The host opens a connection to the guest. */
static __always_inline void syn_sent(struct stats *s, struct syn_key *key, __u64 now)
{
	struct syn_value fresh = { .sent = now };
	struct syn_value *seen = bpf_map_lookup_elem(&syns, key);

	if (key->dport == bpf_htons(envd_port))
		s->envd_last_syn = now;
	if (seen) {
		s->syn_retransmits++;
		seen->retransmits++;
		return;
	}
	s->syns++;
	bpf_map_update_elem(&syns, key, &fresh, BPF_ANY);
}

/* The guest answers a SYN, by SYN-ACK or by RST. The answer ends the wait, so a
 * later RST of the same connection is not a refusal. */
static __always_inline void syn_answered(struct stats *s, struct syn_key *key,
					 __u8 flags, __u64 now)
{
	struct syn_value *seen = bpf_map_lookup_elem(&syns, key);
	int envd = key->dport == bpf_htons(envd_port);
	__u64 took;

	if (!seen)
		return;
	if (flags & TCP_RST) {
		s->syn_refused++;
		if (envd)
			s->envd_last_refused = now;
	} else {
		s->syn_acks++;
		if (envd)
			s->envd_last_syn_ack = now;
		took = now - seen->sent;
		if (!seen->retransmits) {
			s->latency_ns += took;
			s->latency[latency_bucket(took)]++;
		}
	}
	bpf_map_delete_elem(&syns, key);
}

static __always_inline void count_tcp(struct __sk_buff *ctx, struct stats *s,
				      struct key *tap, enum direction dir, __u64 now)
{
	struct syn_key key = { .netns = tap->netns, .ifindex = tap->ifindex };
	struct ip_header ip;
	struct tcp_header tcp;

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, &ip, sizeof(ip)))
		return;
	if (ip.protocol != IPPROTO_TCP || ip.frag_off & bpf_htons(IP_OFFSET_MASK))
		return;
	if (bpf_skb_load_bytes(ctx, ETH_HLEN + (ip.version_ihl & 0xf) * 4, &tcp, sizeof(tcp)))
		return;
	if (tcp.flags & TCP_RST)
		s->resets[dir]++;
	if (dir == TRANSMIT && (tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		key.saddr = ip.saddr;
		key.daddr = ip.daddr;
		key.sport = tcp.sport;
		key.dport = tcp.dport;
		syn_sent(s, &key, now);
	} else if (dir == RECEIVE && tcp.flags & (TCP_SYN | TCP_RST) && tcp.flags & TCP_ACK) {
		key.saddr = ip.daddr;
		key.daddr = ip.saddr;
		key.sport = tcp.dport;
		key.dport = tcp.sport;
		syn_answered(s, &key, tcp.flags, now);
	}
}

static __always_inline int measure(struct __sk_buff *ctx, enum direction dir)
{
	struct key key = { .netns = netns_cookie(ctx), .ifindex = ctx->ifindex };
	struct stats *s = bpf_map_lookup_elem(&taps, &key);
	__u64 now;

	if (!s)
		return TC_ACT_UNSPEC;
	now = bpf_ktime_get_ns();
	s->packets[dir]++;
	s->bytes[dir] += ctx->len;
	if (dir == RECEIVE)
		s->last_receive = now;
	if (ctx->protocol == bpf_htons(ETH_P_IP))
		count_tcp(ctx, s, &key, dir, now);
	else if (ctx->protocol == bpf_htons(ETH_P_ARP))
		count_arp(ctx, s, dir, now);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tapwatch_rx(struct __sk_buff *ctx)
{
	return measure(ctx, RECEIVE);
}

SEC("tc")
int tapwatch_tx(struct __sk_buff *ctx)
{
	return measure(ctx, TRANSMIT);
}

char LICENSE[] SEC("license") = "GPL";
