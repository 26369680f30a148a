//go:build ignore

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Measures a tap: what its guest and the host send each other, and how long the
 * guest takes to answer a SYN.
 *
 * Hooks: tc (clsact) ingress and egress of the tap, or TCX; or, for all devices
 * at once, the tracepoints that every frame passes. Oldest kernel: 5.15.
 * Reads: taps (a device that is not registered there is passed by).
 * Writes: taps (values only), syns, active, refusing, guests, and to the ring buffer refusals:
 * once for a refusal and for the first answer after it.
 *
 * Verdicts are never changed: the tc programs return TC_ACT_UNSPEC, which is also
 * TCX_NEXT, so whatever stands behind runs as if they were not there.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "tapwatch.h"
#include "headers.h"
#include "frame.h"
#include "maps.h"
#include "guest.h"
#include "measure.h"

#define TC_ACT_UNSPEC (-1)

/* Keep the enums in the object's BTF, for bpf2go. */
const volatile enum direction direction_type = RECEIVE;
const volatile enum hook hook_type = HOOK_NONE;
const volatile enum origin origin_type = ORIGIN_GUEST;

SEC("tc")
int tapwatch_rx(struct __sk_buff *ctx)
{
	struct frame f = device_frame(ctx);

	measure(&f, RECEIVE);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tapwatch_tx(struct __sk_buff *ctx)
{
	struct frame f = device_frame(ctx);

	measure(&f, TRANSMIT);
	return TC_ACT_UNSPEC;
}

SEC("tp_btf/netif_receive_skb")
int tapwatch_all_rx(u64 *ctx)
{
	struct frame f = tracepoint_frame((struct sk_buff *)ctx[0]);

	measure(&f, RECEIVE);
	return 0;
}

SEC("tp_btf/net_dev_queue")
int tapwatch_all_tx(u64 *ctx)
{
	struct frame f = tracepoint_frame((struct sk_buff *)ctx[0]);

	measure(&f, TRANSMIT);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
