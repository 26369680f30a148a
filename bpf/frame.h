/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One frame and the device that it passes, the same from every hook, so that one
 * body of code measures behind all of them.
 */
#ifndef TAPWATCH_FRAME_H
#define TAPWATCH_FRAME_H

struct frame {
	enum hook hook; /* constant at every call: the compiler keeps one branch */
	struct __sk_buff *ctx; /* HOOK_DEVICE */
	struct sk_buff *skb;   /* to read kernel fields from */
	unsigned char *mac;    /* HOOK_TRACEPOINT: where the frame begins */
	__u32 linear;	       /* HOOK_TRACEPOINT: how much of it lies there */
	__u32 len;	       /* with the Ethernet header */
	__be16 protocol;
	struct key device;
};

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

/*
 * tc and TCX. The device's cookie is read from the device: bpf_get_netns_cookie
 * asks the packet's socket, and gives the initial namespace's for a packet
 * without one (ARP, what is forwarded). The context is read as the sk_buff that
 * it is at run time; bpf_probe_read_kernel takes any address, and a wrong one
 * reads as an error, not as a crash.
 */
static __always_inline __u64 device_netns(struct __sk_buff *ctx)
{
	struct sk_buff *skb = (void *)ctx;

	if (bpf_cast_to_kern_ctx) { /* Linux 6.2: plain loads, 50 ns less */
		skb = bpf_cast_to_kern_ctx(ctx);
		return skb->dev->nd_net.net->net_cookie;
	}
	return BPF_CORE_READ(skb, dev, nd_net.net, net_cookie);
}

static __always_inline struct frame device_frame(struct __sk_buff *ctx)
{
	struct sk_buff *skb = (void *)ctx;
	struct frame f = {
		.hook = HOOK_DEVICE,
		.ctx = ctx,
		.skb = skb,
		.len = ctx->len,
		.protocol = ctx->protocol,
		.device.netns = device_netns(ctx),
		.device.ifindex = ctx->ifindex,
	};
	return f;
}

/*
 * tp_btf: the kernel's own sk_buff. On receive skb->data has moved on to the
 * network header and skb->len is without the 14 bytes before it: both are
 * reckoned from the MAC header. Only the linear part is read; headers of what a
 * tap takes and gives lie there.
 */
static __always_inline struct frame tracepoint_frame(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	unsigned char *mac = skb->head + skb->mac_header;
	struct frame f = {
		.hook = HOOK_TRACEPOINT,
		.skb = skb,
		.mac = mac,
		.linear = skb->tail - skb->mac_header,
		.len = skb->len + (skb->data - mac),
		.protocol = skb->protocol,
		.device.netns = dev->nd_net.net->net_cookie,
		.device.ifindex = dev->ifindex,
	};
	return f;
}

/* Copies bytes of the frame, counted from its Ethernet header; 0 is success. */
static __always_inline long load(const struct frame *f, __u32 offset, void *to, __u32 len)
{
	if (f->hook == HOOK_DEVICE)
		return bpf_skb_load_bytes(f->ctx, offset, to, len);
	if (offset + len > f->linear)
		return -1;
	return bpf_probe_read_kernel(to, len, f->mac + offset);
}

#endif
