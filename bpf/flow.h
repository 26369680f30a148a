/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What flow.c shares with Go. The words are explained in docs/hops.md.
 */
#ifndef TAPWATCH_FLOW_H
#define TAPWATCH_FLOW_H

/* Where the time of a request goes. */
enum hop {
	HOP_PROXY, /* inside the proxy */
	HOP_RELAY, /* inside the relay; in a dnat path from veth to tap and back */
	HOP_TAP,   /* host kernel, VMM and guest kernel: data to ACK */
	HOP_ENVD,  /* the program in the guest: request to first byte, less tap */
	HOP_LEN,
};

/* Of what a hop's time consists. */
enum part {
	PART_TOTAL,
	PART_WAIT,    /* proxy, relay: data had arrived and was not read yet */
	PART_HANDLE,  /* proxy, relay: read and not sent yet */
	PART_CONNECT, /* proxy: until the relay took the connection; tap: SYN to SYN-ACK */
	PART_QUEUE,   /* tap: until the VMM took the frame */
	PART_LEN,
};

/* How it is known that two sockets of a program carry the same request. */
enum how {
	HOW_NONE,
	HOW_TOLD,     /* by the program itself */
	HOW_BUFFER,   /* what was read into a buffer was sent from there */
	HOW_SEQUENCE, /* the kernel passed it on with its sequence numbers */
	HOW_LEN,
};

/* Why a request of a front socket was not joined. */
enum unjoined {
	UNJOINED_NO_BACKEND,  /* nobody was seen sending on what it had read */
	UNJOINED_AMBIGUOUS,   /* several were */
	UNJOINED_DISAGREE,    /* the answer came from another than the one asked */
	UNJOINED_NO_RESPONSE, /* it was answered before the backend did */
	UNJOINED_TABLE_FULL,
	UNJOINED_LEN,
};

/* What came of something that was asked of a sandbox. */
enum outcome {
	OUTCOME_NONE,	  /* a connection was not used */
	OUTCOME_ANSWERED, /* also where the answer was not looked into */
	OUTCOME_ERROR,	  /* by HTTP, with a status of 5xx */
	OUTCOME_STRANGE,  /* not by HTTP */
	OUTCOME_REFUSED,  /* connect() was */
	OUTCOME_RESET,	  /* before an answer */
	OUTCOME_ENDED,	  /* the peer closed before an answer */
	OUTCOME_LOST,	  /* not even acknowledged: by the error, or by the time until the end */
	OUTCOME_GAVE_UP,  /* whoever asked ended it before an answer */
	OUTCOME_LEN,
};

/* Of whom something is asked: of the relay, by the proxy, and of the guest, by whoever
 * is next to it. */
enum asked_of {
	ASKED_RELAY,
	ASKED_GUEST,
	ASKED_LEN,
};

/* Which socket of the path a connection's end is. */
enum end_kind {
	END_PROXY_FRONT,
	END_PROXY_BACK,
	END_RELAY_FRONT,
	END_RELAY_BACK,
	END_LEN,
};

enum conn_state {
	CONN_NONE,
	CONN_CONNECTING, /* half open: SYN sent, no answer yet */
	CONN_ESTABLISHED,
	CONN_HALF_CLOSED, /* one side has ended */
	CONN_LEN,
};

/* connect() ended without an answer or an error: the program gave up. */
#define ERRNO_GAVE_UP 0
#define ERRNOS 160

/*
 * Upper bounds are those of Prometheus' native histograms of schema 3: place 0 is
 * up to 2^-20 s, place i up to 2^(-20 + i/8) s, the last is all above 128 s.
 */
#define HIST_OCTAVES 27
#define HIST_STEPS 8
#define HIST_PLACES (HIST_OCTAVES * HIST_STEPS + 2)

struct hist {
	__u64 count;
	__u64 sum_ns;
	__u64 places[HIST_PLACES];
};

/* The last request that fell into an octave, for exemplars. */
struct sample {
	__u64 netns;
	__u64 ns;
	__u64 at; /* bpf_ktime_get_ns; 0: none */
};

struct samples {
	struct sample of[HIST_OCTAVES + 2];
};

struct hist_key {
	__u64 netns;
	__u32 hop; /* enum hop */
	__u32 pad;
};

/* A slot's namespace with its tap, as Go knows it. */
struct space {
	__u32 tap; /* ifindex */
	__be32 guest;
};

/* An address behind which the proxy reaches a slot. */
struct dest {
	__u64 netns;
	__u32 dnat; /* the namespace's kernel passes on, no relay */
	__u32 pad;
};

/* What was asked, at the service's port. What is open is what began, less all outcomes. */
struct asked {
	__u64 began;
	__u64 failed_since; /* when the latest one began that was neither answered nor given up */
	__u64 answered_since; /* the same of those that were answered */
	__u64 outcomes[OUTCOME_LEN];
};

/* What real traffic showed of a slot's hops last; times are bpf_ktime_get_ns, 0 is never. */
struct seen {
	__u64 good[HOP_LEN];
	__u64 bad[HOP_LEN];
	__u64 guest_ns; /* from the VMM's taking a frame to the guest's ACK, last measured */
	struct asked asked[ASKED_LEN];
};

/* Something asked that is still open, as the iterator tells it. */
struct waiting {
	__u64 netns;
	__u64 cookie; /* of the socket */
	__u64 since;  /* bpf_ktime_get_ns */
	__u8 of;	 /* enum asked_of */
	__u8 connecting; /* a SYN waits, else a request */
	__u8 left;	 /* it has come to a device of whoever asks */
	__u8 acked;	 /* the kernel of whoever is asked has it */
	__u8 pad[4];
};

struct tuple {
	__be32 local;
	__be32 remote;
	__u16 local_port;  /* host order */
	__u16 remote_port; /* host order */
};

/* A front socket and the back socket that carries its request. */
struct pair {
	__u64 back; /* cookie of the socket */
	__u64 netns;
	__u64 sent;	/* the request's first segment, by the back socket */
	__u64 arrived;	/* the answer's */
	__u64 read;	/* when the program read it */
	__u64 connecting; /* connect() of the back socket, if this is its first request */
	__u64 connected;
	__u64 ambiguous; /* when another back socket claimed the same request */
	__u64 requests;	 /* that were measured */
	__u32 request_seq; /* of the front's last request */
	__u32 delta;	 /* of the sequence numbers of front and back */
	__u8 same;	 /* how often in turn that was the same */
	__u8 how;
	__u8 hop;
	__u8 doubt; /* the last request was not joined */
	__u8 noted; /* the front's buffer is to be looked at */
	__u8 pooled; /* the back carries others' requests too */
	__u8 pad[2];
	struct tuple front_tuple;
	struct tuple back_tuple;
};

/* Counters on one CPU. */
struct totals {
	__u64 joined[HOP_LEN * HOW_LEN];
	__u64 unjoined[HOP_LEN * UNJOINED_LEN];
	__u64 failed[HOP_LEN * ERRNOS]; /* connects, by the hop that did not answer */
	__s64 connections[END_LEN * CONN_LEN];
	__u64 negative; /* times that would have been below zero, and were left out */
	__u64 unsplit;	/* answers whose tap and envd could not be told apart */
};

/* Written by a proxy before it sends: no system call is needed for it. */
struct told {
	__u64 back;
	__u64 front;
};

#define TOLD_PLACES 16384

#endif
