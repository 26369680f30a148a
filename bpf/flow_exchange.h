/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Requests, as they pass the two sockets of a proxy. An exchange begins with the
 * first data after an answer, or after the connection's begin, and its answer with
 * the first data the other way; what follows either belongs to it.
 *
 *   front  arrived  read              sent: the exchange is measured
 *   back                 first..last        arrived  read
 */
#ifndef TAPWATCH_FLOW_EXCHANGE_H
#define TAPWATCH_FLOW_EXCHANGE_H

#define SURE_AFTER 3 /* exchanges with the same two sockets and sequence numbers */

/* A pure ACK within this time was not delayed by the guest, and one after the other
 * was not delayed by the guest's timer alone (TCP_DELACK_MIN, _MAX). */
#define DELACK_MIN_NS 36000000ULL
#define DELACK_MAX_NS 220000000ULL

static __always_inline int after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* ---- back: the request goes, the answer comes ---- */

/* The front whose request leaves: as told, or the one whose data was read into the
 * buffer that is sent from. Once that is known, the sequence numbers tell as well,
 * by their distance: also what leaves in no call, because an ACK was waited for. */
static __always_inline __u64 front_of(struct end *e, struct sock *sk, __u32 seq, __u64 now, struct buffer *b, __u8 *how)
{
	__u32 place = e->cookie & (TOLD_PLACES - 1);
	struct told *t = bpf_map_lookup_elem(&told, &place);
	struct pair *p;
	int again;

	if (t && t->back == e->cookie) {
		*how = HOW_TOLD;
		return t->front;
	}
	*how = HOW_BUFFER;
	p = bpf_map_lookup_elem(&pairs, &e->last_front);
	again = p && p->back == e->cookie && p->how == HOW_BUFFER && p->request_seq - seq == p->delta;
	if (!again || !e->settled || p->noted) {
		if (!again)
			e->settled = 0;
		if (take_read(sk, ROLE_FRONT, now, b))
			return b->socket;
	}
	if (!again)
		return 0;
	b->seq = p->request_seq;
	return e->last_front;
}

/* Writes into the pair of the front whose request this is. */
static __noinline int claim(struct end *e, struct sock *sk, __u32 seq, __u64 now)
{
	struct pair fresh = {}, *p;
	struct buffer b = {};
	__u8 how, pooled = 0;
	__u64 front;
	__u32 delta;

	front = front_of(e, sk, seq, now, &b, &how);
	e->front = front;
	if (!front)
		return 0;
	if (e->last_front && e->last_front != front)
		pooled = 1;
	if (pooled) {
		p = bpf_map_lookup_elem(&pairs, &e->last_front);
		if (p)
			p->pooled = 1;
	}
	e->last_front = front;
	p = bpf_map_lookup_elem(&pairs, &front);
	if (!p) {
		fresh.netns = e->netns;
		fresh.request_seq = b.seq;
		if (bpf_map_update_elem(&pairs, &front, &fresh, BPF_NOEXIST))
			count_unjoined(e->kind == END_PROXY_BACK ? HOP_PROXY : HOP_RELAY, UNJOINED_TABLE_FULL);
		p = bpf_map_lookup_elem(&pairs, &front);
		if (!p)
			return 0;
	}
	if (p->back != e->cookie) {
		if (how != HOW_TOLD && p->sent > b.since)
			p->ambiguous = now; /* another sends the same request */
		p->same = 0;
		p->back = e->cookie;
		p->back_tuple = tuple_of(sk);
		e->settled = 0;
	}
	delta = b.seq - seq;
	if (how == HOW_BUFFER && !e->settled) {
		p->same = p->delta == delta ? p->same + 1 : 0;
		p->delta = delta;
		if (p->same >= SURE_AFTER)
			e->settled = 1;
	}
	p->how = how;
	p->noted = 0;
	p->pooled |= pooled;
	p->sent = now;
	p->connecting = e->connecting;
	p->connected = e->connected;
	e->connecting = 0; /* the next request waits for no connect */
	return 0;
}

static __always_inline void back_sent(struct end *e, struct sock *sk, __u32 seq, __u32 end_seq, __u64 now)
{
	if (e->phase != PHASE_REQUEST) {
		e->phase = PHASE_REQUEST;
		e->first = now;
		e->arrived = e->read = e->acked = 0;
		e->resent = 0;
		drop_note(e);
		ask(e, now);
		claim(e, sk, seq, now);
	}
	e->last = now;
	if (e->to_guest && !e->dnat) {
		struct wire_key key = wire_of(e, sk);
		struct wire *w = bpf_map_lookup_elem(&wires, &key);

		if (w) {
			w->taken = 0;
			w->end_seq = end_seq;
		}
	}
}

/* Tells the way to the guest from the guest's work. */
static __noinline int split(struct end *e, struct sock *sk, struct seen *s, __u64 now)
{
	struct wire_key key = wire_of(e, sk);
	struct wire *w = bpf_map_lookup_elem(&wires, &key);
	__u64 last = e->last, came = now, tap, queue = 0, waited;

	if (e->dnat && w && w->seen && w->first && w->answered > w->first) {
		count_hop(HOP_RELAY, e->netns, between(e->first, w->first) + between(w->answered, now), now);
		count_joined(HOP_RELAY, HOW_SEQUENCE);
		last = w->last;
		came = w->answered;
	} else if (e->dnat) {
		count_unjoined(HOP_RELAY, UNJOINED_NO_BACKEND);
	}
	if (e->resent) /* Karn's rule */
		return count_unsplit();
	if (w && w->taken > last)
		queue = w->taken - last;
	tap = e->acked ? between(last, e->acked) : 0;
	waited = tap - queue;
	if (tap && (waited < DELACK_MIN_NS || waited > DELACK_MAX_NS)) {
		if (!e->guest_ns || waited < e->guest_ns)
			e->guest_ns = waited;
		if (s)
			s->guest_ns = waited;
	} else {
		if (!e->guest_ns && s)
			e->guest_ns = s->guest_ns;
		tap = e->guest_ns ? queue + e->guest_ns : 0;
	}
	if (!tap)
		return count_unsplit();
	waited = between(last, came);
	if (tap > waited)
		tap = waited;
	count_hop(HOP_TAP, e->netns, tap, now);
	if (queue)
		count_part(HOP_TAP, PART_QUEUE, queue);
	count_hop(HOP_ENVD, e->netns, waited - tap, now);
	return 0;
}

static __noinline int back_answered(struct end *e, struct sock *sk, __u64 now)
{
	struct seen *s = bpf_map_lookup_elem(&seen, &e->netns);
	struct pair *p;

	e->phase = PHASE_RESPONSE;
	e->arrived = now;
	e->read = 0;
	if (e->to_guest)
		split(e, sk, s, now);
	if (s && e->to_guest)
		s->good[HOP_ENVD] = s->good[HOP_TAP] = now;
	else if (s)
		s->good[HOP_RELAY] = now;
	note();
	if (!e->front)
		return 0;
	p = bpf_map_lookup_elem(&pairs, &e->front);
	if (p && p->back == e->cookie)
		p->arrived = now;
	return 0;
}

static __always_inline void back_read(struct end *e, __u64 now)
{
	struct pair *p;

	e->read = now;
	if (!e->front)
		return;
	p = bpf_map_lookup_elem(&pairs, &e->front);
	if (p && p->back == e->cookie)
		p->read = now;
	if (!e->settled && (!p || p->how != HOW_TOLD))
		note_read(e, now);
}

/* ---- front: the request comes, the answer goes ---- */

static __always_inline void front_arrived(struct end *e, __u32 seq, __u64 now)
{
	struct pair *p;

	if (e->phase == PHASE_REQUEST && !e->stray)
		return;
	if (e->phase == PHASE_REQUEST && e->listed)
		count_unjoined(e->hop, UNJOINED_NO_BACKEND);
	e->phase = PHASE_REQUEST;
	e->arrived = now;
	e->request_seq = seq;
	e->read = 0;
	e->stray = 0;
	p = bpf_map_lookup_elem(&pairs, &e->cookie);
	if (p)
		p->request_seq = seq;
}

static __always_inline void front_read(struct end *e, __u64 now)
{
	struct pair *p;

	e->read = now;
	if (e->settled)
		return;
	note_read(e, now);
	p = bpf_map_lookup_elem(&pairs, &e->cookie);
	if (p)
		p->noted = 1;
}

static __always_inline void measure_exchange(struct end *e, struct pair *p, __u64 now)
{
	__u64 read = e->read ? e->read : e->arrived;
	__u64 got = p->read > p->arrived ? p->read : p->arrived;
	__u64 wait = between(e->arrived, read) + between(p->arrived, got);
	__u64 handle = between(read, p->sent) + between(got, now);
	__u64 from = p->connecting > read ? p->connecting : read;

	/* The connect is the next hop's time. */
	if (p->connecting && p->connected > from && p->connected <= p->sent)
		handle = between(p->connected - from, handle);
	count_part(e->hop, PART_WAIT, wait);
	count_part(e->hop, PART_HANDLE, handle);
	count_hop(e->hop, p->netns, wait + handle, now);
	count_joined(e->hop, p->how);
	note_good(p->netns, e->hop, now);
}

/* The first of the answer leaves: now it is known who carried the request. */
static __noinline int settle(struct end *e, struct sock *sk, __u64 now)
{
	struct pair *p = bpf_map_lookup_elem(&pairs, &e->cookie);
	enum unjoined why = UNJOINED_NO_BACKEND;
	struct buffer b = {};

	if (p && p->how == HOW_BUFFER && (!e->settled || p->same < SURE_AFTER))
		take_read(sk, ROLE_BACK, now, &b);
	if (p && p->sent < e->arrived) {
		e->stray = 1; /* of an earlier answer, or the proxy's own word */
		e->settled = 0;
		p->doubt = 1;
		return 0;
	}
	e->phase = PHASE_RESPONSE;
	drop_note(e);
	if (!p)
		goto unjoined;
	if (p->ambiguous > e->arrived) {
		why = UNJOINED_AMBIGUOUS;
		goto unjoined;
	}
	if (p->arrived < p->sent) {
		why = UNJOINED_NO_RESPONSE;
		goto unjoined;
	}
	if (b.socket && b.socket != p->back) {
		p->same = 0;
		why = UNJOINED_DISAGREE;
		goto unjoined;
	}
	if (!p->requests) {
		p->front_tuple = tuple_of(sk);
		p->hop = e->hop;
	}
	p->requests++;
	p->doubt = 0;
	e->netns = p->netns;
	e->settled = p->how == HOW_TOLD || p->same >= SURE_AFTER;
	measure_exchange(e, p, now);
	return 0;
unjoined:
	if (p)
		p->doubt = 1;
	if (e->listed)
		count_unjoined(e->hop, why);
	return 0;
}

#endif
