/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The map that every program writes. Objects that are loaded beside tap.c get
 * tap.c's.
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

#endif
