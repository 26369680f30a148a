//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Measures where the time of requests goes: in the proxy, in the relay, on the way
 * through the tap, or in the guest's daemon.
 *
 * Hooks: tp_btf/inet_sock_set_state, tcp_probe, tcp_rcv_space_adjust,
 * net_dev_queue; consume_skb for the VMM's taking of frames, netif_receive_skb for
 * dnat paths; iter/task_file for connections older than the agent. Oldest kernel:
 * 5.15. Reads: spaces, dests, told. Writes: all other maps of flow_maps.h.
 *
 * Times are all of one clock, bpf_ktime_get_ns. Nothing is sent to user space.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "headers.h"
#include "flow.h"
#include "flow_kernel.h"
#include "flow_maps.h"
#include "flow_count.h"
#include "flow_buffer.h"
#include "flow_outcome.h"
#include "flow_ends.h"
#include "flow_exchange.h"
#include "flow_wire.h"

/* Keep the enums in the object's BTF, for bpf2go. */
const volatile enum hop hop_type = HOP_PROXY;
const volatile enum part part_type = PART_TOTAL;
const volatile enum how how_type = HOW_NONE;
const volatile enum unjoined unjoined_type = UNJOINED_NO_BACKEND;
const volatile enum end_kind end_kind_type = END_PROXY_FRONT;
const volatile enum conn_state conn_state_type = CONN_NONE;
const volatile enum outcome outcome_type = OUTCOME_NONE;
const volatile enum asked_of asked_of_type = ASKED_RELAY;
const volatile struct waiting waiting_type = {};

/* inet_sock_set_state(sk, oldstate, newstate) */
SEC("tp_btf/inet_sock_set_state")
int flow_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];

	state_changed(sk, ctx[1], ctx[2], bpf_ktime_get_ns());
	return 0;
}

/* tcp_probe(sk, skb): a segment reached an established socket; skb->data is its
 * TCP header. */
SEC("tp_btf/tcp_probe")
int flow_arrive(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct end *e = bpf_sk_storage_get(&ends, sk, 0, 0);
	struct tcp_header tcp;
	struct tcp_sock *tp;
	__u32 seq, len;
	__u64 now;

	if (!e)
		return 0;
	/* A request or an answer that goes on is of no interest. */
	if (e->role == ROLE_BACK ? e->phase != PHASE_REQUEST : e->phase == PHASE_REQUEST && !e->stray)
		return 0;
	if (bpf_probe_read_kernel(&tcp, sizeof(tcp), skb->data))
		return 0;
	len = skb->len - (tcp.data_offset >> 4) * 4;
	seq = bpf_ntohl(tcp.seq);
	if (!len) {
		if (e->role == ROLE_BACK && e->phase == PHASE_REQUEST && !e->acked && !e->resent &&
		    !after(e->sent_seq, bpf_ntohl(tcp.ack)))
			e->acked = bpf_ktime_get_ns();
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !after(seq + len, tp->rcv_nxt))
		return 0; /* came before */
	now = bpf_ktime_get_ns();
	if (e->role == ROLE_FRONT)
		front_arrived(e, seq, now);
	else if (e->phase == PHASE_REQUEST) {
		came(e, answer_of(skb, (tcp.data_offset >> 4) * 4));
		back_answered(e, sk, now);
	}
	return 0;
}

/* tcp_rcv_space_adjust(sk): a program has read, or spliced. */
SEC("tp_btf/tcp_rcv_space_adjust")
int flow_read(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct end *e = bpf_sk_storage_get(&ends, sk, 0, 0);
	struct tcp_sock *tp;
	__u32 was;
	__u64 now;

	if (!e) {
		e = suspect_front(sk);
		if (!e)
			return 0;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || tp->copied_seq == e->copied)
		return 0; /* it looked, and took nothing */
	was = e->copied;
	e->copied = tp->copied_seq;
	if (e->copied - was == 1 && peer_ended(sk))
		return 0; /* no data, but their end */
	now = bpf_ktime_get_ns();
	/* What comes while a connection is being ended passes no tcp_probe. */
	if (e->role == ROLE_FRONT) {
		if (e->phase != PHASE_REQUEST)
			front_arrived(e, was ? was : e->copied, now);
		if (!e->read)
			front_read(e, now);
	} else {
		if (e->phase == PHASE_REQUEST) {
			came(e, OUTCOME_ANSWERED);
			back_answered(e, sk, now);
		}
		if (e->phase == PHASE_RESPONSE && !e->read)
			back_read(e, now);
	}
	return 0;
}

/* net_dev_queue(skb): a frame leaves, its socket still known unless it is passed on. */
SEC("tp_btf/net_dev_queue")
int flow_send(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	struct sock *sk = skb->sk;
	struct end *e;
	struct segment s;
	__u64 now;

	if (!sk) {
		if (dnat_paths)
			passed_on(skb);
		return 0;
	}
	e = bpf_sk_storage_get(&ends, sk, 0, 0);
	if (!e || read_segment(skb, &s))
		return 0;
	if (s.flags & TCP_SYN)
		syn_leaves(e, sk, &s);
	if (!s.len)
		return 0;
	if (e->have_sent && !after(s.seq + s.len, e->sent_seq)) {
		e->resent = 1;
		return 0;
	}
	e->have_sent = 1;
	e->sent_seq = s.seq + s.len;
	now = bpf_ktime_get_ns();
	if (e->role == ROLE_BACK)
		back_sent(e, sk, s.seq, e->sent_seq, now);
	else if (e->phase == PHASE_REQUEST)
		settle(e, sk, now);
	return 0;
}

/* consume_skb(skb, location): a program, such as the VMM that reads a tap, has
 * taken a frame. */
SEC("tp_btf/consume_skb")
int flow_taken(u64 *ctx)
{
	taken((struct sk_buff *)ctx[0]);
	return 0;
}

/* netif_receive_skb(skb): for the guest's answers in dnat paths. */
SEC("tp_btf/netif_receive_skb")
int flow_from_guest(u64 *ctx)
{
	if (dnat_paths)
		from_guest((struct sk_buff *)ctx[0]);
	return 0;
}

/* Connections older than the agent. */
SEC("iter/task_file")
int flow_known(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	struct end *e;

	if (!ctx->task || !file)
		return 0;
	socket = (struct socket *)bpf_sock_from_file(file);
	if (!socket)
		return 0;
	sk = socket->sk;
	if (!sk || sk->sk_protocol != 6 || sk->__sk_common.skc_family != AF_INET)
		return 0;
	if (sk->__sk_common.skc_state != TCP_ESTABLISHED || bpf_sk_storage_get(&ends, sk, 0, 0))
		return 0;
	e = classify_back(sk);
	if (!e)
		e = classify_front(sk, 1);
	if (e) {
		e->local = bpf_htons(sk->__sk_common.skc_num);
		read_so_far(e, sk);
		enter_state(e, CONN_ESTABLISHED);
	}
	return 0;
}

/* What is open now. It is looked for only where something is. */
SEC("iter/bpf_sk_storage_map")
int flow_waits(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct end *e = ctx->value;
	struct sock *sk = ctx->sk;
	struct waiting w = {};
	struct tcp_sock *tp;

	if (!e || !sk || !e->open)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	w.connecting = sk->__sk_common.skc_state == TCP_SYN_SENT;
	if (!w.connecting && e->phase != PHASE_REQUEST && !has_unacked(tp))
		return 0; /* nothing is asked yet */
	w.netns = e->netns;
	w.cookie = e->cookie;
	w.since = e->since;
	w.of = e->to_guest ? ASKED_GUEST : ASKED_RELAY;
	w.left = w.connecting ? !!e->local : e->phase == PHASE_REQUEST;
	w.acked = !w.connecting && !has_unacked(tp);
	bpf_seq_write(ctx->meta->seq, &w, sizeof(w));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
