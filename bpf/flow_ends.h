/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which sockets are ends of a path's connections, and how those come and go.
 */
#ifndef TAPWATCH_FLOW_ENDS_H
#define TAPWATCH_FLOW_ENDS_H

const volatile __u16 proxy_port = 49983; /* where the proxy listens; others are found by what they do */

static __always_inline __u64 netns_of(struct sock *sk)
{
	return sk->__sk_common.skc_net.net->net_cookie;
}

static __always_inline struct tuple tuple_of(struct sock *sk)
{
	struct tuple t = {
		.local = sk->__sk_common.skc_rcv_saddr,
		.remote = sk->__sk_common.skc_daddr,
		.local_port = sk->__sk_common.skc_num,
		.remote_port = bpf_ntohs(sk->__sk_common.skc_dport),
	};

	return t;
}

/* Moves a connection in the counts from the state it was in. */
static __always_inline void enter_state(struct end *e, __u8 state)
{
	struct totals *t = counters();
	__u32 was = e->kind * CONN_LEN + e->state, is = e->kind * CONN_LEN + state;

	if (!t || e->state == state)
		return;
	KEEP(was);
	KEEP(is);
	if (e->state && was < END_LEN * CONN_LEN)
		t->connections[was]--;
	if (state && is < END_LEN * CONN_LEN)
		t->connections[is]++;
	e->state = state;
}

static __always_inline __u8 counted_state(int state)
{
	switch (state) {
	case TCP_SYN_SENT:
	case TCP_SYN_RECV:
		return CONN_CONNECTING;
	case TCP_ESTABLISHED:
		return CONN_ESTABLISHED;
	case TCP_CLOSE:
		return CONN_NONE;
	default:
		return CONN_HALF_CLOSED;
	}
}

static __always_inline struct end *make_end(struct sock *sk, struct end *fresh)
{
	fresh->cookie = bpf_get_socket_cookie(sk);
	return bpf_sk_storage_get(&ends, sk, fresh, BPF_SK_STORAGE_GET_F_CREATE);
}

/* A socket that connects, or has. */
static __always_inline struct end *classify_back(struct sock *sk)
{
	__u64 netns = netns_of(sk);
	__be32 remote = sk->__sk_common.skc_daddr;
	struct space *space = bpf_map_lookup_elem(&spaces, &netns);
	struct end fresh = { .role = ROLE_BACK, .service = sk->__sk_common.skc_dport == bpf_htons(service_port) };
	struct dest *dest;

	if (space) {
		if (space->guest != remote)
			return 0;
		fresh.netns = netns;
		fresh.kind = END_RELAY_BACK;
		fresh.to_guest = 1;
		return make_end(sk, &fresh);
	}
	dest = bpf_map_lookup_elem(&dests, &remote);
	if (!dest)
		return 0;
	fresh.netns = dest->netns;
	fresh.kind = END_PROXY_BACK;
	fresh.dnat = fresh.to_guest = !!dest->dnat;
	return make_end(sk, &fresh);
}

/* A socket that was accepted. */
static __always_inline struct end *classify_front(struct sock *sk, int listed)
{
	__u64 netns = netns_of(sk);
	struct space *space = bpf_map_lookup_elem(&spaces, &netns);
	struct end fresh = { .role = ROLE_FRONT, .listed = 1 };

	if (space) {
		fresh.netns = netns;
		fresh.kind = END_RELAY_FRONT;
		fresh.hop = HOP_RELAY;
	} else if (!listed || sk->__sk_common.skc_num == proxy_port) {
		fresh.kind = END_PROXY_FRONT;
		fresh.hop = HOP_PROXY;
		fresh.listed = listed;
	} else {
		return 0;
	}
	return make_end(sk, &fresh);
}

/* What the program has read up to now is not read by its next call: a splice looks
 * before there is anything. */
static __always_inline void read_so_far(struct end *e, struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	if (tp)
		e->copied = tp->copied_seq;
}

/* The peer sends no more. */
static __always_inline int peer_ended(struct sock *sk)
{
	int state = sk->__sk_common.skc_state;

	return state == TCP_CLOSE_WAIT || state == TCP_LAST_ACK;
}

/* A program that sends to slots has read something: what of may be a front. */
static __always_inline struct end *suspect_front(struct sock *sk)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct tcp_sock *tp;

	if (!bpf_map_lookup_elem(&proxies, &tgid))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !tp->bytes_received)
		return 0;
	return classify_front(sk, 0);
}

static __always_inline struct wire_key wire_of(struct end *e, struct sock *sk)
{
	struct wire_key key = {
		.netns = e->netns,
		.local = e->local, /* the socket itself has it no more when it closes */
		.remote = sk->__sk_common.skc_dport,
	};

	return key;
}

/* connect() got its answer. */
static __always_inline void connect_ended(struct end *e, struct sock *sk, __u64 now)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct wire_key key = wire_of(e, sk);
	struct wire *w;
	struct seen *s;
	__u64 took;

	e->connected = now;
	if (!e->connecting || (tp && tp->total_retrans))
		return; /* Karn's rule */
	took = between(e->connecting, now);
	count_part(e->to_guest ? HOP_TAP : HOP_PROXY, PART_CONNECT, took);
	note_good(e->netns, e->to_guest ? HOP_TAP : HOP_RELAY, now);
	if (!e->to_guest)
		return;
	w = bpf_map_lookup_elem(&wires, &key);
	if (w && w->taken > e->connecting)
		e->guest_ns = between(w->taken, now);
	else
		e->guest_ns = took;
	s = bpf_map_lookup_elem(&seen, &e->netns);
	if (s)
		s->guest_ns = e->guest_ns; /* for connections older than the agent */
}

static __always_inline void connect_failed(struct end *e, struct sock *sk, __u64 now)
{
	int error = sk->sk_err;
	__u32 hop = HOP_RELAY;

	if (e->to_guest)
		hop = error == 111 ? HOP_ENVD : HOP_TAP; /* ECONNREFUSED: the guest is there */
	count_failed(hop, error);
	if (error)
		note_bad(e->netns, hop, now);
	if (error == 111 && e->to_guest)
		note_good(e->netns, HOP_TAP, now);
}

static __always_inline void state_changed(struct sock *sk, int old, int new, __u64 now)
{
	struct end *e = bpf_sk_storage_get(&ends, sk, 0, 0);
	__u32 tgid;
	__u8 yes = 1;

	if (!e) {
		if (sk->__sk_common.skc_family != AF_INET)
			return;
		if (old == TCP_CLOSE && new == TCP_SYN_SENT) {
			e = classify_back(sk);
			if (!e)
				return;
			e->connecting = now;
			ask(e, now);
			tgid = bpf_get_current_pid_tgid() >> 32; /* connect() runs in its caller */
			bpf_map_update_elem(&proxies, &tgid, &yes, BPF_ANY);
		} else if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
			e = classify_front(sk, 1);
			if (!e)
				return;
		} else {
			return;
		}
	}
	if (old == TCP_SYN_SENT && new == TCP_ESTABLISHED)
		connect_ended(e, sk, now);
	if (old == TCP_SYN_SENT && new == TCP_CLOSE)
		connect_failed(e, sk, now);
	if (e->open)
		unanswered(e, sk, old, new, now);
	if (new == TCP_ESTABLISHED)
		read_so_far(e, sk);
	enter_state(e, counted_state(new));
	if (new != TCP_CLOSE)
		return;
	drop_note(e);
	if (e->role == ROLE_FRONT) {
		bpf_map_delete_elem(&pairs, &e->cookie);
	} else if (e->to_guest) {
		struct wire_key key = wire_of(e, sk);

		bpf_map_delete_elem(&wires, &key);
	}
}

#endif
