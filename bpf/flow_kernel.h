/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What flow.c reads of the kernel beside vmlinux.h. Sources: include/net/sock.h,
 * include/linux/tcp.h, include/linux/uio.h, arch/x86/include/asm/ptrace.h.
 */
#ifndef TAPWATCH_FLOW_KERNEL_H
#define TAPWATCH_FLOW_KERNEL_H

/* include/net/tcp_states.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_FIN_WAIT2 5
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LAST_ACK 9
#define AF_INET 2
#define AF_INET6 10


#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct flow_net_ref {
	struct net *net;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	__u16 sk_protocol;
};

struct tcp_sock {
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 total_retrans;
	__u32 write_seq;
	__u32 snd_una;
	__u64 bytes_received;
};

/* Linux before 5.17 has a bit field beside it; the byte itself is of that size there too. */
struct sock___flow {
	__u8 sk_shutdown;
};

/* Fields of sk_buff that only flow.c needs. */
struct sk_buff___flow {
	__u16 transport_header;
	__u16 network_header;
	unsigned int data_len;
};

struct socket {
	struct sock *sk;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct file___flow {
	void *private_data;
};

/* x86-64 only: elsewhere the field is not found, and nothing is known of buffers. */
struct pt_regs {
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

#pragma clang attribute pop

/* UAPI, 64 bit. */
struct user_iovec {
	__u64 base;
	__u64 len;
};

struct user_msghdr {
	__u64 name;
	__u64 name_len;
	__u64 iov;
	__u64 iov_len;
};

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define NR_READ 0
#define NR_WRITE 1
#define NR_READV 19
#define NR_WRITEV 20
#define NR_SENDTO 44
#define NR_RECVFROM 45
#define NR_SENDMSG 46
#define NR_RECVMSG 47
#define NR_SPLICE 275

#endif
