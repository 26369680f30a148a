/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The guest's own address, learned from the frames that it sends. An ARP message
 * names its sender, so the last one wins. The source of an IPv4 packet may be that
 * of a machine behind the guest, so only the first one counts, and only until an
 * ARP message comes. In a settled connection this costs one comparison a frame.
 */
#ifndef TAPWATCH_GUEST_H
#define TAPWATCH_GUEST_H

/*
 * Counters are kept for each CPU; the address must be known on all. Only these
 * programs read this map, so it need not outlive an agent.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ACTIVITY_PLACES);
	__type(key, __u32);
	__type(value, struct guest);
} guests SEC(".maps");

static __always_inline struct guest *guest_place(const struct key *device)
{
	__u32 place = place_of(device->netns, device->ifindex);

	return bpf_map_lookup_elem(&guests, &place);
}

static __always_inline int is_of(const struct guest *g, const struct key *device,
				 const struct stats *s)
{
	return g->created == s->created && g->ifindex == device->ifindex;
}

/* Shares the address with the other CPUs. CPUs share the line: it is written only
 * where it differs. */
static __always_inline void share_guest(const struct key *device, const struct stats *s,
					__be32 addr)
{
	struct guest *g = guest_place(device);

	if (!g || (is_of(g, device, s) && g->addr == addr))
		return;
	g->addr = 0; /* until the place is this device's */
	g->created = s->created;
	g->ifindex = device->ifindex;
	g->addr = addr;
}

/* Says whether an address may be the guest's: it is, or the guest's is not known. */
static __always_inline int may_be_guest(const struct key *device, const struct stats *s,
					__be32 addr)
{
	struct guest *g = guest_place(device);
	__be32 known = g && is_of(g, device, s) ? g->addr : s->guest_addr;

	return !known || known == addr;
}

/* No guest has the address 0.0.0.0, 127.0.0.0/8 or one of a group. */
static __always_inline int is_host(__be32 addr)
{
	__u8 first = *(__u8 *)&addr;

	return addr && first != 127 && first < 224;
}

static __always_inline void learn_from_arp(const struct key *device, struct stats *s,
					   const struct arp_header *arp, __u64 now)
{
	__be32 addr = *(__be32 *)arp->sender;

	if (arp->hardware_type != bpf_htons(ARP_ETHERNET) || arp->protocol_type != bpf_htons(ETH_P_IP) ||
	    arp->hardware_len != 6 || arp->protocol_len != 4 || !is_host(addr))
		return;
	share_guest(device, s, addr);
	barrier(); /* who reads it below may rely on what all CPUs know */
	s->guest_addr = addr;
	__builtin_memcpy(s->guest_mac, arp->sender_hardware, sizeof(s->guest_mac));
	s->guest_by_arp = 1;
	s->guest_seen = now;
}

static __always_inline void learn_from_ipv4(const struct frame *f, struct stats *s, __u64 now)
{
	struct guest *g = guest_place(&f->device);
	struct {
		struct eth_header eth;
		struct ip_header ip;
	} __attribute__((packed)) h;

	if (load(f, 0, &h, sizeof(h)) || h.eth.to[0] & 1 || !is_host(h.ip.saddr))
		return;
	if (g && !is_of(g, &f->device, s))
		share_guest(&f->device, s, h.ip.saddr);
	barrier();
	s->guest_addr = h.ip.saddr;
	__builtin_memcpy(s->guest_mac, h.eth.from, sizeof(s->guest_mac));
	s->guest_seen = now;
}

#endif
