/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Structs that the programs share with Go. bpf2go makes the Go side; nothing is
 * declared twice.
 */
#ifndef TAPWATCH_H
#define TAPWATCH_H

/* Directions are the device's: receive is what the guest sent. */
enum direction {
	RECEIVE,
	TRANSMIT,
	DIRECTION_LEN,
};

/*
 * What counts a device: programs attached to it (tc, TCX), or those that see
 * every device (tracepoints). A device has one at a time, so that no frame counts
 * twice where both see it.
 */
enum hook {
	HOOK_NONE,
	HOOK_DEVICE,
	HOOK_TRACEPOINT,
	HOOK_LEN,
};

/* Who sent a TCP segment with RST. */
enum origin {
	ORIGIN_GUEST,	  /* received from the tap */
	ORIGIN_RELAY,	  /* a socket in the namespace */
	ORIGIN_KERNEL,	  /* the namespace's kernel, for want of a socket */
	ORIGIN_FORWARDED, /* from beyond the namespace */
	ORIGIN_LEN,
};

/*
 * Upper bounds of the latency histogram are 2^i microseconds for bucket i, from
 * 1 us to 8.4 s; the last bucket holds all that is longer.
 */
#define LATENCY_BUCKETS 25

/* A device for good: every tap0 may be ifindex 2, and names are reused. */
struct key {
	__u64 netns; /* cookie of the namespace */
	__u32 ifindex;
	__u32 pad;
};

/*
 * Counters of one tap on one CPU. Times are bpf_ktime_get_ns, 0 is never. A new
 * layout is a new map, also at a restart: counters then begin anew.
 */
struct stats {
	__u64 created; /* when counting began */
	__u32 hook;    /* enum hook: who counts */
	__u32 pad;

	__u64 packets[DIRECTION_LEN];
	__u64 bytes[DIRECTION_LEN];
	__u64 resets[ORIGIN_LEN]; /* TCP segments with RST */

	/* Requests for other addresses than guest_addr do not count once that is known. */
	__u64 arp_requests; /* transmitted: the host asks for the guest */
	__u64 arp_replies;  /* received: the guest answers */

	__u64 syns;	       /* transmitted, without retransmissions */
	__u64 syn_retransmits; /* transmitted again while the first is unanswered */
	__u64 syn_acks;	       /* received for a SYN that we saw */
	__u64 syn_refused;     /* a SYN that the guest answered with RST */
	__u64 syn_unanswered;  /* no answer before the sender tried again, 1 s by default */

	__u64 retransmits; /* TCP segments that sockets of the namespace sent again */

	/* SYN to SYN-ACK of connections whose SYN was sent once (Karn's rule). */
	__u64 latency_ns;
	__u64 latency[LATENCY_BUCKETS];

	/* The first of each since counting began, for the boot's timeline. */
	__u64 first_receive;
	__u64 first_arp_reply;
	__u64 envd_first_syn_ack;

	__u64 last_receive;	 /* any frame of the guest */
	__u64 last_arp_request;
	__u64 last_arp_reply;
	/* The same for envd's port alone, for the path's state. */
	__u64 envd_last_syn;
	__u64 envd_last_syn_ack;
	__u64 envd_last_refused;
	/* Refused connections to other ports, and which was the last. */
	__u64 ports_refused;
	__u64 ports_last_refused;
	__u32 last_refused_port;

	/* The guest's own address, as its frames say on this CPU. */
	__be32 guest_addr;  /* as on the wire; 0: none seen */
	__u8 guest_mac[6];  /* of the frame that guest_addr is from */
	__u8 guest_by_arp;  /* 1: an ARP sender, 0: an IPv4 source */
	__u8 pad2;
	__u64 guest_seen; /* by ARP: the last time; by IPv4: the first */
};

/*
 * Frames to a tap that were dropped, by the kernel's reason, on one CPU. A tap
 * meets few reasons: what finds no place is counted as other.
 */
#define DROP_REASONS 12

struct drop {
	__u64 count; /* 0: the place is free */
	__u32 reason;
	__u32 pad;
};

struct drops {
	struct drop of[DROP_REASONS];
	__u64 other;
};

/*
 * When a device last had anything to count, so that nobody reads thousands of
 * counters that stand still: times in units of 2^29 ns, half a second, cut to 16
 * bits. Devices may share a place: one of them is then read for nothing.
 */
#define ACTIVITY_PLACES 16384
#define ACTIVITY_SHIFT 29

struct activity {
	__u16 at[ACTIVITY_PLACES];
};

/* Of which devices the guest's last answer was a refusal. Devices may share a place:
 * what one of them does is then told of the other. */
struct refusing {
	__u8 is[ACTIVITY_PLACES];
};

/* The address of a device's guest, for all CPUs. Devices may share a place: created,
 * which is that of the device's counters, and ifindex say whose guest was noted last. */
struct guest {
	__u64 created;
	__u32 ifindex;
	__be32 addr;
};

/* For so long after a refusal the next ones of a device are not told. */
#define REFUSALS_REST (100 * 1000 * 1000ull)

/* A SYN on its way to a guest. Addresses and ports as on the wire. */
struct syn_key {
	__u64 netns;
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u32 ifindex;
};

struct syn_value {
	__u64 sent;
	__be32 seq; /* of the SYN: another one under the same ports is another connection */
	__u32 retransmits;
};

/* One process that holds a tap open, as the iterator writes it. */
struct holder {
	__u64 tap_netns;     /* cookie of the tap's namespace */
	__u64 process_netns; /* cookie of the process's namespace */
	__u32 ifindex;
	__u32 pid; /* of the process (tgid), as /proc has it */
	__u32 fd;
	__u32 pad;
	__u8 device[16];
	__u8 comm[16];
};

#endif
