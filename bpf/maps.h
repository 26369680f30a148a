/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of what is counted for each tap. They are tap.c's, and so outlive an
 * agent; objects that are loaded beside it get the same.
 */
#ifndef TAPWATCH_MAPS_H
#define TAPWATCH_MAPS_H

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* 10,000 slots, but few on most hosts */
	__uint(max_entries, 16384);
	__type(key, struct key);
	__type(value, struct stats);
} taps SEC(".maps");

/* Only taps that had a drop are in it. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct key);
	__type(value, struct drops);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct activity);
} active SEC(".maps");

/* Devices whose guest refused a connection to envd, or took the first one after
 * that: rare, so it is told at once. What finds no room is found by looking. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} refusals SEC(".maps");

/* Cookies of namespaces that were made one after the other lie side by side. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct refusing);
} refusing SEC(".maps");

static __always_inline __u32 place_of(__u64 netns, __u32 ifindex)
{
	return ((__u32)netns * 5 + ifindex) & (ACTIVITY_PLACES - 1);
}

static __always_inline void note_activity(const struct key *device, __u64 now)
{
	__u32 zero = 0;
	struct activity *a = bpf_map_lookup_elem(&active, &zero);
	__u32 place = place_of(device->netns, device->ifindex);
	__u16 at = now >> ACTIVITY_SHIFT;

	if (a && a->at[place] != at) /* CPUs share the line: write to it once */
		a->at[place] = at;
}

static __always_inline void tell_refusal(const struct syn_key *syn)
{
	struct key device = { .netns = syn->netns, .ifindex = syn->ifindex };

	bpf_ringbuf_output(&refusals, &device, sizeof(device), 0);
}

/* Notes whether the guest refuses, and says whether it did before: the answers may
 * come on several CPUs. */
static __always_inline int refuses(const struct syn_key *syn, __u8 now)
{
	__u32 zero = 0;
	struct refusing *r = bpf_map_lookup_elem(&refusing, &zero);
	__u32 place = place_of(syn->netns, syn->ifindex);
	int before;

	if (!r)
		return now;
	before = r->is[place];
	if (before != now)
		r->is[place] = now;
	return before;
}

#endif
