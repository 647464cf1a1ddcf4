// SPDX-License-Identifier: GPL-2.0-only

// Counts the TCP sockets of the reader's network namespace in a BPF iterator (`iter/tcp`): the way to
// count inside the kernel without a module. Reading the pinned iterator gives a line for each state:
// its number and its count.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL __attribute__((preserve_access_index))

// Only the fields that are read. The loader finds their offsets in the kernel's type information.
struct seq_file {
} KERNEL;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
} KERNEL;

struct sock_common {
	unsigned char skc_state;
} KERNEL;

struct inet_timewait_sock {
	unsigned char tw_substate;
} KERNEL;

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
} KERNEL;

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
	__u32 uid;
} KERNEL;

enum { TIME_WAIT = 6, STATES = 16 };

// The counts of the current reading. The benchmark reads one at a time.
__u64 counts[STATES];

SEC("iter/tcp")
int count(struct bpf_iter__tcp *ctx)
{
	struct sock_common *socket = ctx->sk_common;
	__u8 state;

	if (ctx->meta->seq_num == 0)
		for (int i = 0; i < STATES; i++)
			counts[i] = 0;
	if (socket) {
		state = socket->skc_state;
		if (state == TIME_WAIT) {
			struct tcp_timewait_sock *waiting = bpf_skc_to_tcp_timewait_sock(socket);

			if (waiting)
				state = waiting->tw_sk.tw_substate;
		}
		counts[state % STATES]++;
		return 0;
	}
	for (int i = 0; i < STATES; i++)
		if (counts[i])
			BPF_SEQ_PRINTF(ctx->meta->seq, "%d %llu\n", i, counts[i]);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
