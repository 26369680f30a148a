/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which buffer a program reads into and sends from. A proxy that does not help is
 * joined by it: what was read of one socket into a buffer, or a pipe, and is then
 * sent from there by another, is the same request, however many threads and
 * connections there are. Found in the registers with which the program entered
 * the kernel.
 */
#ifndef TAPWATCH_FLOW_BUFFER_H
#define TAPWATCH_FLOW_BUFFER_H

#define BUFFER_KEPT_NS 5000000000ULL /* what lies longer was copied or dropped */

struct call {
	__u64 nr;
	__u64 a, b, c; /* arguments 1 to 3 */
};

/* The system call that this thread is in; false where that cannot be told. */
static __always_inline int current_call(struct call *call)
{
	struct pt_regs *regs;

	if (!bpf_core_field_exists(((struct pt_regs *)0)->orig_ax))
		return 0;
	regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	call->nr = regs->orig_ax;
	call->a = regs->di;
	call->b = regs->si;
	call->c = regs->dx;
	return 1;
}

/* What lies behind one of this process's descriptors. */
static __always_inline void *private_data(__u64 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct file___flow *file = 0;
	struct fdtable *fdt;
	struct file **fds;

	fdt = BPF_CORE_READ(task, files, fdt);
	if (!fdt || fd >= BPF_CORE_READ(fdt, max_fds))
		return 0;
	fds = BPF_CORE_READ(fdt, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), fds + fd) || !file)
		return 0;
	return BPF_CORE_READ(file, private_data);
}

static __always_inline __u64 first_of(__u64 iov)
{
	struct user_iovec v = {};

	bpf_probe_read_user(&v, sizeof(v), (void *)iov);
	return v.base;
}

static __always_inline __u64 first_of_message(__u64 msg)
{
	struct user_msghdr h = {};

	bpf_probe_read_user(&h, sizeof(h), (void *)msg);
	return h.iov ? first_of(h.iov) : 0;
}

/* The buffer that data of a socket is being read into; 0: not known. */
static __noinline __u64 buffer_read(void)
{
	struct call call = {};

	if (!current_call(&call))
		return 0;
	switch (call.nr) {
	case NR_READ:
	case NR_RECVFROM:
		return call.b;
	case NR_READV:
		return first_of(call.b);
	case NR_RECVMSG:
		return first_of_message(call.b);
	case NR_SPLICE:
		return (__u64)private_data(call.c);
	}
	return 0;
}

/* The buffer that this thread is sending from by sk; 0: it is not, or not known.
 * A frame may leave while another's call is interrupted: the descriptor tells. */
static __noinline __u64 buffer_sent(struct sock *sk)
{
	struct call call = {};
	struct socket *socket;
	__u64 fd, address;

	if (!current_call(&call))
		return 0;
	fd = call.a;
	switch (call.nr) {
	case NR_WRITE:
	case NR_SENDTO:
		address = call.b;
		break;
	case NR_WRITEV:
		address = first_of(call.b);
		break;
	case NR_SENDMSG:
		address = first_of_message(call.b);
		break;
	case NR_SPLICE:
		address = (__u64)private_data(call.a);
		fd = call.c;
		break;
	default:
		return 0;
	}
	socket = private_data(fd);
	if (!socket || BPF_CORE_READ(socket, sk) != sk)
		return 0;
	return address;
}

static __always_inline struct buffer_key key_of(__u64 address, __u32 tgid)
{
	struct buffer_key key = { .address = address, .tgid = tgid };

	return key;
}

/* What was read needs not be sent any more. */
static __always_inline void drop_note(struct end *e)
{
	struct buffer_key key = key_of(e->noted, e->noted_by);
	struct buffer *b;

	if (!e->noted)
		return;
	e->noted = 0;
	b = bpf_map_lookup_elem(&buffers, &key);
	if (b && b->socket == e->cookie)
		b->socket = 0;
}

/* A program has read the first of what its socket brought. Where it reads another's
 * into the same place before it has sent that, it keeps both elsewhere, and whose
 * it will send from there cannot be told. */
static __always_inline void note_read(struct end *e, __u64 now)
{
	__u64 address = buffer_read();
	struct buffer_key key = key_of(address, bpf_get_current_pid_tgid() >> 32);
	struct buffer b = {
		.socket = e->cookie, .since = e->arrived, .read = now, .seq = e->request_seq, .role = e->role,
	};
	struct buffer *was;

	drop_note(e);
	if (!address)
		return;
	was = bpf_map_lookup_elem(&buffers, &key);
	if (was && was->socket && now - was->read < BUFFER_KEPT_NS)
		b.mixed = now;
	else if (was)
		b.mixed = was->mixed;
	bpf_map_update_elem(&buffers, &key, &b, BPF_ANY);
	e->noted = address;
	e->noted_by = key.tgid;
}

/* Takes out what the buffer that is being sent from was read of, into an empty to;
 * false: not known. */
static __always_inline int take_read(struct sock *sk, __u32 role, __u64 now, struct buffer *to)
{
	__u64 address = buffer_sent(sk);
	struct buffer_key key = key_of(address, bpf_get_current_pid_tgid() >> 32);
	struct buffer *b;

	if (!address)
		return 0;
	b = bpf_map_lookup_elem(&buffers, &key);
	if (!b || !b->socket || b->role != role || now - b->read > BUFFER_KEPT_NS)
		return 0;
	if (!b->mixed || now - b->mixed > BUFFER_KEPT_NS)
		*to = *b;
	b->socket = 0;
	return !!to->socket;
}

#endif
