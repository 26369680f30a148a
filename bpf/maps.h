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

#endif
