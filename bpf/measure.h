/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is counted of a frame, whichever hook it is seen from.
 */
#ifndef TAPWATCH_MEASURE_H
#define TAPWATCH_MEASURE_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock_common {
	volatile unsigned char skc_state;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
};

#pragma clang attribute pop

const volatile __u16 envd_port = 49983;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct syn_key);
	__type(value, struct syn_value);
} syns SEC(".maps");

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

static __always_inline void count_arp(const struct frame *f, struct stats *s,
				      enum direction dir, __u64 now)
{
	struct arp_header arp;

	if (load(f, ETH_HLEN, &arp, sizeof(arp)))
		return;
	if (dir == RECEIVE)
		learn_from_arp(&f->device, s, &arp, now);
	if (is_announcement(&arp))
		return;
	if (dir == TRANSMIT && arp.operation == bpf_htons(ARP_REQUEST)) {
		if (!may_be_guest(&f->device, s, *(__be32 *)arp.target))
			return;
		s->arp_requests++;
		s->last_arp_request = now;
	} else if (dir == RECEIVE && arp.operation == bpf_htons(ARP_REPLY)) {
		s->arp_replies++;
		s->last_arp_reply = now;
		if (!s->first_arp_reply)
			s->first_arp_reply = now;
	}
}

/* The host opens a connection to the guest. */
static __always_inline void syn_sent(struct stats *s, struct syn_key *key, __be32 seq, __u64 now)
{
	struct syn_value fresh = { .sent = now, .seq = seq };
	struct syn_value *seen = bpf_map_lookup_elem(&syns, key);

	if (key->dport == bpf_htons(envd_port))
		s->envd_last_syn = now;
	if (seen && seen->seq == seq) {
		s->syn_retransmits++;
		if (!seen->retransmits++)
			s->syn_unanswered++;
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
		if (envd) {
			if (!refuses(key, 1) || now - s->envd_last_refused > REFUSALS_REST)
				tell_refusal(key);
			s->envd_last_refused = now;
		} else {
			s->ports_refused++;
			s->ports_last_refused = now;
			s->last_refused_port = bpf_ntohs(key->dport);
		}
	} else {
		s->syn_acks++;
		if (envd) {
			if (refuses(key, 0))
				tell_refusal(key);
			s->envd_last_syn_ack = now;
			if (!s->envd_first_syn_ack)
				s->envd_first_syn_ack = now;
		}
		took = now - seen->sent;
		if (!seen->retransmits) {
			s->latency_ns += took;
			s->latency[latency_bucket(took)]++;
		}
	}
	bpf_map_delete_elem(&syns, key);
}

/*
 * Who sent a RST that the tap transmits, by the socket that still owns the
 * packet: forwarding takes that away. A kernel that answers for want of a socket
 * sends through a raw one of its own.
 */
static __always_inline enum origin origin_of(const struct frame *f)
{
	struct sk_buff *skb = f->skb; /* not within the macro, which would relocate f too */
	struct sock *sk = BPF_CORE_READ(skb, sk);
	__u8 state;

	if (!sk)
		return ORIGIN_FORWARDED;
	state = BPF_CORE_READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return ORIGIN_RELAY; /* a small kind of socket, of which no more can be read */
	return BPF_CORE_READ(sk, sk_type) == SOCK_STREAM ? ORIGIN_RELAY : ORIGIN_KERNEL;
}

static __always_inline void count_tcp(const struct frame *f, struct stats *s,
				      enum direction dir, __u64 now)
{
	struct syn_key key = { .netns = f->device.netns, .ifindex = f->device.ifindex };
	struct {
		struct ip_header ip;
		struct tcp_header tcp;
	} h;

	/* Both at once: what is too short for both is no TCP segment. */
	if (load(f, ETH_HLEN, &h, sizeof(h)))
		return;
	if (h.ip.protocol != IPPROTO_TCP || h.ip.frag_off & bpf_htons(IP_OFFSET_MASK))
		return;
	if ((h.ip.version_ihl & 0xf) != 5 && /* options */
	    load(f, ETH_HLEN + (h.ip.version_ihl & 0xf) * 4, &h.tcp, sizeof(h.tcp)))
		return;
	if (h.tcp.flags & TCP_RST)
		s->resets[dir == RECEIVE ? ORIGIN_GUEST : origin_of(f)]++;
	if (dir == TRANSMIT && (h.tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
		key.saddr = h.ip.saddr;
		key.daddr = h.ip.daddr;
		key.sport = h.tcp.sport;
		key.dport = h.tcp.dport;
		syn_sent(s, &key, h.tcp.seq, now);
	} else if (dir == RECEIVE && h.tcp.flags & (TCP_SYN | TCP_RST) && h.tcp.flags & TCP_ACK) {
		key.saddr = h.ip.daddr;
		key.daddr = h.ip.saddr;
		key.sport = h.tcp.dport;
		key.dport = h.tcp.sport;
		syn_answered(s, &key, h.tcp.flags, now);
	}
}

static __always_inline void measure(const struct frame *f, enum direction dir)
{
	struct key device = f->device;
	struct stats *s = bpf_map_lookup_elem(&taps, &device);
	__u64 now;

	if (!s || s->hook != f->hook)
		return;
	now = bpf_ktime_get_ns();
	note_activity(&device, now);
	s->packets[dir]++;
	s->bytes[dir] += f->len;
	if (dir == RECEIVE) {
		s->last_receive = now;
		if (!s->first_receive)
			s->first_receive = now;
	}
	if (f->protocol == bpf_htons(ETH_P_IP)) {
		if (dir == RECEIVE && !s->guest_addr)
			learn_from_ipv4(f, s, now);
		count_tcp(f, s, dir, now);
	} else if (f->protocol == bpf_htons(ETH_P_ARP)) {
		count_arp(f, s, dir, now);
	}
}

#endif
