/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Histograms and counters.
 */
#ifndef TAPWATCH_FLOW_COUNT_H
#define TAPWATCH_FLOW_COUNT_H

/* Has the compiler look at a value as it is, so that a check before its use is the
 * one that the verifier sees. */
#define KEEP(x) asm volatile("" : "+r"(x))

/* Upper bounds in ns of all places but the last, set by Go. */
const volatile __u64 bounds[HIST_PLACES - 1];
const volatile __u8 per_sandbox = 0;

/* The first place whose bound is not below ns. Functions that are not static are
 * verified by themselves, once: their paths are not multiplied by their callers'. */
__noinline __u32 place_of(__u64 ns)
{
	__u32 low = 0, high = HIST_PLACES - 1;

#pragma unroll
	for (int i = 0; i < 8; i++) { /* 2^8 > HIST_PLACES */
		__u32 middle = (low + high) / 2;

		if (low >= high || middle >= HIST_PLACES - 1)
			break;
		if (ns <= bounds[middle])
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static __always_inline struct totals *counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&totals, &zero);
}

static __always_inline void add_to(struct hist *h, __u32 place, __u64 ns)
{
	h->count++;
	h->sum_ns += ns;
	if (place < HIST_PLACES)
		h->places[place]++;
}

__noinline int count_part(__u32 hop, __u32 part, __u64 ns)
{
	__u32 key = hop * PART_LEN + part;
	struct hist *h = bpf_map_lookup_elem(&hists, &key);

	if (h)
		add_to(h, place_of(ns), ns);
	return 0;
}

/* A request's whole time in a hop. */
__noinline int count_hop(__u32 hop, __u64 netns, __u64 ns, __u64 now)
{
	__u32 key = hop * PART_LEN + PART_TOTAL, octave, place = place_of(ns);
	struct hist_key one = { .netns = netns, .hop = hop };
	struct samples *s = bpf_map_lookup_elem(&recent, &hop);
	struct hist *h = bpf_map_lookup_elem(&hists, &key);

	if (h)
		add_to(h, place, ns);
	octave = (place + HIST_STEPS - 1) / HIST_STEPS;
	if (s && octave < HIST_OCTAVES + 2) {
		s->of[octave].netns = netns;
		s->of[octave].ns = ns;
		s->of[octave].at = now;
	}
	if (per_sandbox) {
		h = bpf_map_lookup_elem(&sandbox_hists, &one);
		if (h)
			add_to(h, place, ns);
	}
	return 0;
}

static __always_inline void count_joined(__u32 hop, __u32 how)
{
	struct totals *t = counters();
	__u32 i = hop * HOW_LEN + how;

	KEEP(i);
	if (t && i < HOP_LEN * HOW_LEN)
		t->joined[i]++;
}

static __always_inline void count_unjoined(__u32 hop, enum unjoined why)
{
	struct totals *t = counters();
	__u32 i = hop * UNJOINED_LEN + why;

	KEEP(i);
	if (t && i < HOP_LEN * UNJOINED_LEN)
		t->unjoined[i]++;
}

__noinline int count_failed(__u32 hop, __u32 error)
{
	struct totals *t = counters();
	__u32 i = hop * ERRNOS + error;

	KEEP(i);
	if (t && error < ERRNOS && i < HOP_LEN * ERRNOS)
		t->failed[i]++;
	return 0;
}

static __always_inline int count_unsplit(void)
{
	struct totals *t = counters();

	if (t)
		t->unsplit++;
	return 0;
}

/* Something was written to seen. */
static __always_inline void note(void)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&notes, &zero);

	if (n)
		(*n)++;
}

static __always_inline void note_good(__u64 netns, __u32 hop, __u64 now)
{
	struct seen *s = bpf_map_lookup_elem(&seen, &netns);

	if (s && hop < HOP_LEN) {
		s->good[hop] = now;
		note();
	}
}

static __always_inline void note_bad(__u64 netns, __u32 hop, __u64 now)
{
	struct seen *s = bpf_map_lookup_elem(&seen, &netns);

	if (s && hop < HOP_LEN) {
		s->bad[hop] = now;
		note();
	}
}

/* later - earlier; what would be below zero is counted, and 0. */
static __always_inline __u64 between(__u64 earlier, __u64 later)
{
	struct totals *t;

	if (later >= earlier)
		return later - earlier;
	t = counters();
	if (t)
		t->negative++;
	return 0;
}

#endif
