/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Frames at the tap: when the VMM takes them, and, in dnat paths, where no socket
 * of the namespace is on the way, when they pass.
 */
#ifndef TAPWATCH_FLOW_WIRE_H
#define TAPWATCH_FLOW_WIRE_H

volatile __u32 dnat_paths; /* how many there are; set by Go */
volatile __u64 tap_indexes; /* bit i: a slot's tap has an ifindex of which i is the rest by 64; set by Go */

struct segment {
	__be16 sport;
	__be16 dport;
	__u32 seq;
	__u32 len; /* of its data */
	__u8 flags;
};

/* Reads a segment's header, wherever skb->data stands; 0 is success. */
static __always_inline int read_segment(struct sk_buff *skb, struct segment *s)
{
	__u16 at = ((struct sk_buff___flow *)skb)->transport_header;
	unsigned char *head = skb->head;
	struct tcp_header tcp;

	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), head + at))
		return -1;
	s->sport = tcp.sport;
	s->dport = tcp.dport;
	s->seq = bpf_ntohl(tcp.seq);
	s->len = skb->len - (__u32)(head + at - skb->data) - (tcp.data_offset >> 4) * 4;
	s->flags = tcp.flags;
	return 0;
}

/* Is an IPv4 TCP segment, by its network header. */
static __always_inline int is_tcp(struct sk_buff *skb)
{
	struct ip_header ip;

	if (bpf_probe_read_kernel(&ip, sizeof(ip), skb->head + ((struct sk_buff___flow *)skb)->network_header))
		return 0;
	return ip.protocol == IPPROTO_TCP && !(ip.frag_off & bpf_htons(IP_OFFSET_MASK));
}

/* The slot whose tap the frame is at; 0: none's. */
static __always_inline __u64 slot_at(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct space *space;
	__u64 netns;

	if (!dev || skb->protocol != bpf_htons(ETH_P_IP) || !(tap_indexes >> (dev->ifindex & 63) & 1))
		return 0;
	netns = dev->nd_net.net->net_cookie;
	space = bpf_map_lookup_elem(&spaces, &netns);
	return space && space->tap == dev->ifindex ? netns : 0;
}

/* A connection to a guest begins. */
static __always_inline void syn_leaves(struct end *e, struct sock *sk, struct segment *s)
{
	struct wire fresh = { .isn = s->seq, .end_seq = s->seq + 1 };
	struct wire_key key;

	e->local = s->sport;
	key = wire_of(e, sk);
	if (e->role == ROLE_BACK && e->to_guest && bpf_map_update_elem(&wires, &key, &fresh, BPF_ANY))
		count_unjoined(HOP_TAP, UNJOINED_TABLE_FULL);
}

static __noinline int taken(struct sk_buff *skb)
{
	struct wire_key key = {};
	struct segment s;
	struct wire *w;
	__u32 end;

	key.netns = slot_at(skb);
	if (!key.netns || !is_tcp(skb) || read_segment(skb, &s))
		return 0;
	key.local = s.sport;
	key.remote = s.dport;
	w = bpf_map_lookup_elem(&wires, &key);
	end = s.seq + s.len + !!(s.flags & TCP_SYN);
	if (w && end == w->end_seq && !w->taken)
		w->taken = bpf_ktime_get_ns();
	return 0;
}

/* A frame that the namespace passes on to its guest. */
static __noinline int passed_on(struct sk_buff *skb)
{
	struct wire_key key = {};
	struct segment s;
	struct wire *w;
	__u64 now;

	key.netns = slot_at(skb);
	if (!key.netns || !is_tcp(skb) || read_segment(skb, &s))
		return 0;
	key.local = s.sport;
	key.remote = s.dport;
	w = bpf_map_lookup_elem(&wires, &key);
	if (!w)
		return 0;
	if (s.flags & TCP_SYN) {
		if (s.seq == w->isn)
			w->seen = 1;
		return 0;
	}
	if (!s.len || !w->seen)
		return 0;
	now = bpf_ktime_get_ns();
	if (w->phase != PHASE_REQUEST) {
		w->phase = PHASE_REQUEST;
		w->first = now;
		w->answered = 0;
	}
	w->last = now;
	w->end_seq = s.seq + s.len;
	w->taken = 0;
	return 0;
}

static __noinline int from_guest(struct sk_buff *skb)
{
	__u64 netns = slot_at(skb);
	struct wire_key key = { .netns = netns };
	struct {
		struct ip_header ip;
		struct tcp_header tcp;
	} h;
	struct wire *w;

	/* Headers are not found yet: skb->data is the network header. */
	if (!netns || skb->protocol != bpf_htons(ETH_P_IP) || bpf_probe_read_kernel(&h, sizeof(h), skb->data))
		return 0;
	if (h.ip.protocol != IPPROTO_TCP || (h.ip.version_ihl & 0xf) != 5)
		return 0;
	if (bpf_ntohs(h.ip.tot_len) <= sizeof(h.ip) + (h.tcp.data_offset >> 4) * 4)
		return 0;
	key.local = h.tcp.dport;
	key.remote = h.tcp.sport;
	w = bpf_map_lookup_elem(&wires, &key);
	if (w && w->phase == PHASE_REQUEST) {
		w->phase = PHASE_RESPONSE;
		w->answered = bpf_ktime_get_ns();
	}
	return 0;
}

#endif
