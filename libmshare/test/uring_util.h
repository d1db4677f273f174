/* SPDX-License-Identifier: MIT */
/* io_uring by raw system calls, one request at a time. */
#ifndef MSHARE_TEST_URING_UTIL_H
#define MSHARE_TEST_URING_UTIL_H

#include "test.h"

#include <linux/io_uring.h>

struct uring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

/* NULL, or why there is none here. */
static inline const char *uring_open(struct uring *u)
{
	static char why[128];
	struct io_uring_params prm;

	memset(&prm, 0, sizeof(prm));
	u->fd = (int)syscall(SYS_io_uring_setup, 8, &prm);
	if (u->fd < 0) {
		snprintf(why, sizeof(why), "io_uring_setup: %s", strerror(errno));
		return why;
	}
	fcntl(u->fd, F_SETFD, FD_CLOEXEC);
	size_t sq_size = prm.sq_off.array + prm.sq_entries * sizeof(unsigned int);
	size_t cq_size = prm.cq_off.cqes + prm.cq_entries * sizeof(struct io_uring_cqe);
	char *sq = mmap(NULL, sq_size, RW, MAP_SHARED, u->fd, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, cq_size, RW, MAP_SHARED, u->fd, IORING_OFF_CQ_RING);

	u->sqes = mmap(NULL, prm.sq_entries * sizeof(struct io_uring_sqe), RW, MAP_SHARED, u->fd,
		       IORING_OFF_SQES);
	must(sq != MAP_FAILED && cq != MAP_FAILED && u->sqes != MAP_FAILED);
	u->sq_tail = (unsigned int *)(sq + prm.sq_off.tail);
	u->sq_mask = (unsigned int *)(sq + prm.sq_off.ring_mask);
	u->sq_array = (unsigned int *)(sq + prm.sq_off.array);
	u->cq_head = (unsigned int *)(cq + prm.cq_off.head);
	u->cq_tail = (unsigned int *)(cq + prm.cq_off.tail);
	u->cq_mask = (unsigned int *)(cq + prm.cq_off.ring_mask);
	u->cqes = (struct io_uring_cqe *)(cq + prm.cq_off.cqes);
	return NULL;
}

/* One request, done: what it returned (negative: an errno). */
static inline int uring_do(struct uring *u, int op, int fd, void *buf, size_t len, uint64_t offset,
			   int buf_index)
{
	unsigned int tail = *u->sq_tail, slot = tail & *u->sq_mask;
	struct io_uring_sqe *sqe = &u->sqes[slot];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = (uint8_t)op;
	sqe->fd = fd;
	sqe->addr = (uint64_t)(uintptr_t)buf;
	sqe->len = (uint32_t)len;
	sqe->off = offset;
	sqe->buf_index = (uint16_t)buf_index;
	u->sq_array[slot] = slot;
	__atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
	int n;

	do
		n = (int)syscall(SYS_io_uring_enter, u->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	while (n < 0 && errno == EINTR);
	must(n == 1);
	unsigned int head = *u->cq_head;

	must(__atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE) != head);
	int res = u->cqes[head & *u->cq_mask].res;

	__atomic_store_n(u->cq_head, head + 1, __ATOMIC_RELEASE);
	return res;
}

#endif
