/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What came of what was asked of a sandbox, for whoever asked. It is asked from
 * connect(), or from the first segment of a later request, until the first byte of an
 * answer or the end of the connection.
 */
#ifndef TAPWATCH_FLOW_OUTCOME_H
#define TAPWATCH_FLOW_OUTCOME_H

const volatile __u16 service_port = 49983; /* of the daemon, and of the relay; set by Go */

/* errno.h */
#define EPIPE 32
#define ECONNRESET 104
#define ECONNREFUSED 111

/* include/net/sock.h */
#define RCV_SHUTDOWN 1

/* What is not acknowledged for so long, at its end, has been lost: on a host's own
 * links nothing takes as long. */
#define LOST_AFTER_NS 1000000000ULL

static __always_inline struct asked *asked_of(struct end *e)
{
	struct seen *s = bpf_map_lookup_elem(&seen, &e->netns);

	return s ? &s->asked[e->to_guest ? ASKED_GUEST : ASKED_RELAY] : 0;
}

static __always_inline void ask(struct end *e, __u64 now)
{
	struct asked *a;

	if (!e->service || e->open)
		return;
	a = asked_of(e);
	if (!a)
		return;
	e->open = 1;
	e->since = now;
	__sync_fetch_and_add(&a->began, 1);
	note();
}

static __always_inline void came(struct end *e, enum outcome what)
{
	struct asked *a;
	__u32 i = what;

	if (!e->open)
		return;
	e->open = 0;
	a = asked_of(e);
	if (!a)
		return;
	if (what == OUTCOME_ANSWERED) {
		if (e->since > a->answered_since)
			a->answered_since = e->since;
	} else if (what != OUTCOME_NONE && what != OUTCOME_GAVE_UP && e->since > a->failed_since) {
		a->failed_since = e->since;
	}
	KEEP(i);
	if (i < OUTCOME_LEN)
		__sync_fetch_and_add(&a->outcomes[i], 1);
	note();
}

/* By the first bytes of an answer, where the kernel has them at hand. */
static __always_inline enum outcome answer_of(struct sk_buff *skb, __u32 header)
{
	__u32 linear = skb->len - ((struct sk_buff___flow *)skb)->data_len;
	char b[10] = {}; /* up to the status's first digit */

	/* A first segment may be short, by whoever writes no HTTP. */
	if (linear < header + 5 || bpf_probe_read_kernel(b, 5, skb->data + header))
		return OUTCOME_ANSWERED;
	if (b[0] == 'H' && b[1] == 'T' && b[2] == 'T' && b[3] == 'P' && b[4] == '/') {
		if (linear < header + sizeof(b) || bpf_probe_read_kernel(b, sizeof(b), skb->data + header))
			return OUTCOME_ANSWERED;
		return b[9] == '5' ? OUTCOME_ERROR : OUTCOME_ANSWERED;
	}
	return b[3] == 4 ? OUTCOME_ANSWERED : OUTCOME_STRANGE; /* HTTP/2 begins with SETTINGS */
}

/* Something was received that the program has not read yet, an end apart. */
static __always_inline int has_unread(struct end *e, struct tcp_sock *tp)
{
	return (__s32)(tp->rcv_nxt - e->copied) > 1;
}

/* Something was written that the peer has not acknowledged. */
static __always_inline int has_unacked(struct tcp_sock *tp)
{
	return tp->write_seq != tp->snd_una;
}

/* The connection ends by whoever asked. */
static __always_inline enum outcome left_off(struct end *e, struct sock *sk, int connecting, __u64 now)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	int sent = connecting || e->phase == PHASE_REQUEST;

	if (!tp)
		return OUTCOME_NONE;
	if (!connecting && has_unread(e, tp))
		return OUTCOME_ANSWERED;
	if ((connecting || has_unacked(tp)) && (tp->total_retrans || now - e->since > LOST_AFTER_NS))
		return OUTCOME_LOST;
	return sent ? OUTCOME_GAVE_UP : OUTCOME_NONE;
}

/* The kernel ends the connection for an error, or whoever asked does. */
static __always_inline enum outcome outcome_of_end(struct end *e, struct sock *sk, int connecting, __u64 now)
{
	/* close() that resets has an error too, of its own making. */
	if (((struct sock___flow *)sk)->sk_shutdown & RCV_SHUTDOWN)
		return left_off(e, sk, connecting, now);
	switch (sk->sk_err) {
	case 0:
		return left_off(e, sk, connecting, now);
	case ECONNREFUSED:
		return connecting ? OUTCOME_REFUSED : OUTCOME_RESET;
	case ECONNRESET:
	case EPIPE:
		return OUTCOME_RESET;
	default: /* ETIMEDOUT, EHOSTUNREACH and the like */
		return OUTCOME_LOST;
	}
}

/* The connection of a back goes from one state to another before an answer. */
static __always_inline void unanswered(struct end *e, struct sock *sk, int old, int new, __u64 now)
{
	struct tcp_sock *tp;

	if (new == TCP_CLOSE) {
		came(e, outcome_of_end(e, sk, old == TCP_SYN_SENT, now));
	} else if (new == TCP_CLOSE_WAIT) {
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp && !has_unread(e, tp))
			came(e, OUTCOME_ENDED);
	} else if (new == TCP_FIN_WAIT1 && ((struct sock___flow *)sk)->sk_shutdown & RCV_SHUTDOWN) {
		came(e, left_off(e, sk, 0, now));
	}
}

#endif
