/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of flow.c. What is known of a socket is stored with it and goes with
 * it, so that no number of connections fills a table of ours.
 */
#ifndef TAPWATCH_FLOW_MAPS_H
#define TAPWATCH_FLOW_MAPS_H

#define ROLE_FRONT 1 /* accepted from where requests come */
#define ROLE_BACK 2  /* connected to where they go */

#define PHASE_REST 0
#define PHASE_REQUEST 1	 /* data came (front) or went (back), no answer yet */
#define PHASE_RESPONSE 2 /* the answer has begun */

/* One socket of a path. Times are of the exchange that runs: from the request's
 * first segment until the next one's. */
struct end {
	__u8 role;
	__u8 kind; /* enum end_kind */
	__u8 hop;  /* of a front */
	__u8 to_guest;
	__u8 dnat;
	__u8 phase;
	__u8 state;    /* enum conn_state, as counted */
	__u8 stray;    /* front: data went out that answers an earlier request */
	__u8 settled;  /* the join is beyond doubt, no evidence is looked for */
	__u8 resent;   /* back: a segment of the request was retransmitted */
	__u8 have_sent;
	__u8 listed; /* front: the port says that it is one */
	__u8 service; /* back: to the service's port */
	__u8 open;    /* back: something is asked and not answered */
	__be16 local; /* back: its port */
	__u32 sent_seq; /* behind the last byte that was sent */
	__u32 copied;	/* up to what the program has read */
	__u32 request_seq; /* of the request's first byte */
	__u64 cookie;
	__u64 netns; /* of the slot; 0: a front that was not joined yet */
	__u64 arrived;
	__u64 read;
	__u64 first; /* back: when the request's first segment went, and the last */
	__u64 last;
	__u64 acked; /* back: the guest's kernel had it all */
	__u64 connecting;
	__u64 connected;
	__u64 since; /* back: what is open is asked */
	__u64 front; /* back: cookie of the front whose request runs; 0: not known */
	__u64 last_front; /* the last that was known */
	__u64 guest_ns; /* back: least time from the VMM's taking a frame to the ACK */
	__u64 noted;	/* address of the buffer that was noted as read into; 0: none */
	__u32 noted_by; /* tgid of who read */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct end);
} ends SEC(".maps");

/* By the front socket's cookie; goes with that socket. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct pair);
} pairs SEC(".maps");

/* What a socket's data was read into. */
struct buffer_key {
	__u64 address; /* the program's, or the pipe's in the kernel */
	__u32 tgid;
	__u32 pad;
};

struct buffer {
	__u64 socket; /* cookie of whose data is in it; 0: it was sent */
	__u64 mixed;  /* when it last held two sockets' data, neither of them sent; 0: never */
	__u64 since;  /* when its exchange began */
	__u64 read;
	__u32 seq;
	__u32 role;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct buffer_key);
	__type(value, struct buffer);
} buffers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TOLD_PLACES);
	__type(key, __u32);
	__type(value, struct told);
} told SEC(".maps");

/* A connection as it passes a slot's tap: for the VMM's taking of its frames, and
 * in a dnat path to tell the way through the namespace. */
struct wire_key {
	__u64 netns;
	__be16 local; /* ports, as on the wire */
	__be16 remote;
	__u32 pad;
};

struct wire {
	__u64 taken;	/* when the VMM took the last segment to the guest */
	__u64 first;	/* dnat: the request's first segment to the guest, and the last */
	__u64 last;
	__u64 answered; /* dnat: the answer's first segment from the guest */
	__u32 end_seq;	/* behind the last segment to the guest */
	__u32 isn;	/* dnat: of the caller, by which it is known again */
	__u8 seen;	/* dnat: at the tap too */
	__u8 phase;
	__u8 pad[6];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct wire_key); /* goes with the back socket */
	__type(value, struct wire);
} wires SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64); /* cookie of the namespace */
	__type(value, struct space);
} spaces SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, __be32);
	__type(value, struct dest);
} dests SEC(".maps");

/* Programs that connect to slots: what they accept may be a front. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* tgid */
	__type(value, __u8);
} proxies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u64); /* cookie of the namespace */
	__type(value, struct seen);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOP_LEN * PART_LEN);
	__type(key, __u32);
	__type(value, struct hist);
} hists SEC(".maps");

/* Of single sandboxes, those that Go has made a place for. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct hist_key);
	__type(value, struct hist);
} sandbox_hists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOP_LEN);
	__type(key, __u32);
	__type(value, struct samples);
} recent SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} totals SEC(".maps");

/* How often something was written to seen: user space reads that only where it was. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} notes SEC(".maps");

#endif
