/* SPDX-License-Identifier: GPL-2.0 */
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

/* When a guest last refused a connection to envd, or took one after that: rare, and
 * read more often than the rest. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct activity);
} refusals SEC(".maps");

/* Cookies of namespaces that were made one after the other lie side by side. */
static __always_inline void note(void *map, __u64 netns, __u32 ifindex, __u64 now)
{
	__u32 zero = 0;
	struct activity *a = bpf_map_lookup_elem(map, &zero);
	__u32 place = ((__u32)netns * 5 + ifindex) & (ACTIVITY_PLACES - 1);
	__u16 at = now >> ACTIVITY_SHIFT;

	if (a && a->at[place] != at) /* CPUs share the line: write to it once */
		a->at[place] = at;
}

static __always_inline void note_activity(const struct key *device, __u64 now)
{
	note(&active, device->netns, device->ifindex, now);
}

#endif
