// SPDX-License-Identifier: GPL-2.0-only
/*
 * A read-only attachment is one for the kernel, too. Everything by which the
 * kernel writes to user memory is tried against an attachment that is read-only
 * (by its descriptor, or by its protection), to memory that is mapped read-write
 * in the region and has been touched by a writer, so that the shared tables
 * themselves would let the write pass. Each call is then made against a
 * read-write attachment, where it must work: otherwise the test would prove
 * nothing.
 */
#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "mshare_test.h"

#define PAGES	8

FIXTURE(readonly) {
	struct env env;
	int fd;
	char *rw;	/* where it must work */
	char *ro;	/* where it must not */
	size_t size;
};

FIXTURE_VARIANT(readonly) {
	bool by_descriptor;
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(readonly, descriptor) {
	.by_descriptor = true,
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(readonly, protection) {
	.by_descriptor = false,
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(readonly, memfd) {
	.by_descriptor = true,
	.kind = MEMFD,
};

FIXTURE_SETUP(readonly)
{
	int fd, file;

	self->size = PAGES * psize;
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, file, 0));
	self->rw = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->rw);
	fd = variant->by_descriptor ? reopen(self->fd, O_RDONLY) : self->fd;
	self->ro = region_attach(fd, NULL, PROT_READ);
	ASSERT_NE(MAP_FAILED, self->ro);
	fill_pages(self->rw, self->size, 1);
	/* Linked, so that nothing has to fault to be written through. */
	ASSERT_EQ(0, check_pages(self->ro, self->size, 1));
}

FIXTURE_TEARDOWN(readonly)
{
	ENV_LEAVE(&self->env);
}

#define UNCHANGED() do { \
	EXPECT_EQ(0, check_pages(self->rw, self->size, 1)); \
	EXPECT_EQ(0, check_pages(self->ro, self->size, 1)); \
} while (0)

/* After the control, which changes things. */
#define CHANGED() do { \
	EXPECT_LT(0, check_pages(self->rw, self->size, 1)); \
	fill_pages(self->rw, self->size, 1); \
} while (0)

TEST_F(readonly, store)
{
	EXPECT_EQ(SIGSEGV, probe_write(self->ro, 9));
	UNCHANGED();
	/* After it has been read: the link is there. Before: it is not. */
	ASSERT_EQ(0, region_map(self->fd, SLOT / 2, psize, RW));
	EXPECT_EQ(SIGSEGV, probe_write(self->ro + SLOT / 2, 9));
	EXPECT_EQ(0, probe_write(self->rw + SLOT / 2, 8));
	EXPECT_EQ(8, peek(self->ro + SLOT / 2));
	EXPECT_EQ(SIGSEGV, probe_write(self->ro + SLOT / 2, 9));
	EXPECT_EQ(0, probe_write(self->rw, 9));
	CHANGED();
}

TEST_F(readonly, store_in_an_unlinked_slot)
{
	char *fresh = region_attach(self->fd, NULL, PROT_READ);

	ASSERT_NE(MAP_FAILED, fresh);
	EXPECT_EQ(SIGSEGV, probe_write(fresh, 9));
	UNCHANGED();
}

TEST_F(readonly, atomic)
{
	/* A compare that fails writes the old value back, on x86. */
	int sig = sigsetjmp(probe_env, 0);

	if (!sig) {
		probing = 1;
		__sync_val_compare_and_swap((long *)self->ro, 123456, 1);
	}
	probing = 0;
	EXPECT_EQ(SIGSEGV, sig);
	UNCHANGED();
}

/* ---- copy_to_user -------------------------------------------------------- */

TEST_F(readonly, read)
{
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	EXPECT_EQ(-1, read(zero, self->ro, psize));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	EXPECT_EQ(psize, read(zero, self->rw, psize));
	CHANGED();
}

TEST_F(readonly, read_of_a_pipe)
{
	uint64_t value = 42;
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(8, write(pipes[1], &value, 8));
	EXPECT_EQ(-1, read(pipes[0], self->ro, 8));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	EXPECT_EQ(8, read(pipes[0], self->rw, 8));
	EXPECT_EQ(42, peek(self->rw));
	CHANGED();
}

TEST_F(readonly, read_of_a_file)
{
	int file = memfd_create("file", MFD_CLOEXEC);

	ASSERT_EQ(0, ftruncate(file, psize));
	EXPECT_EQ(-1, pread(file, self->ro, psize, 0));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	EXPECT_EQ(psize, pread(file, self->rw, psize, 0));
	CHANGED();
}

TEST_F(readonly, recvmsg)
{
	struct iovec iov = { .iov_len = 8 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint64_t value = 42;
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(8, write(pair[0], &value, 8));
	iov.iov_base = self->ro;
	EXPECT_EQ(-1, recvmsg(pair[1], &msg, 0));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	iov.iov_base = self->rw;
	EXPECT_EQ(8, recvmsg(pair[1], &msg, 0));
	EXPECT_EQ(42, peek(self->rw));
	CHANGED();
}

TEST_F(readonly, what_a_call_returns)
{
	struct timespec *ts = (void *)self->ro;

	/* Not through the vDSO, which would just be a store. */
	EXPECT_EQ(-1, syscall(__NR_clock_gettime, CLOCK_MONOTONIC, ts));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	EXPECT_EQ(0, syscall(__NR_clock_gettime, CLOCK_MONOTONIC, self->rw));
	CHANGED();
}

/* ---- pages pinned to be written to --------------------------------------- */

TEST_F(readonly, direct_io)
{
	char path[32];
	int disk = disk_new(MIB, path, sizeof(path)), direct;

	ASSERT_LE(0, disk) {
		TH_LOG("no loop device: %s", strerror(-disk));
	}
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, direct);
	EXPECT_EQ(-1, pread(direct, self->ro, psize, 0));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	/* Across pages, and after the fact. */
	EXPECT_EQ(-1, pread(direct, self->ro + psize, 4 * psize, 0));
	UNCHANGED();
	EXPECT_EQ(psize, pread(direct, self->rw, psize, 0));
	EXPECT_EQ(0, peek(self->rw));
	CHANGED();
	close(direct);
	close(disk);
}

TEST_F(readonly, direct_io_to_both)
{
	struct iovec iov[2] = {
		{ self->rw, psize }, { self->ro + psize, psize },
	};
	char path[32];
	int disk = disk_new(MIB, path, sizeof(path)), direct;
	ssize_t n;

	ASSERT_LE(0, disk);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, direct);
	/* The first may get what it asked for; the second may not. */
	n = preadv(direct, iov, 2, 0);
	EXPECT_TRUE(n == -1 || n == (ssize_t)psize);
	EXPECT_EQ(mix(1, psize), peek(self->rw + psize));
	close(direct);
	close(disk);
}

TEST_F(readonly, io_uring)
{
	int file = memfd_create("file", MFD_CLOEXEC), error;
	struct uring ring;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ, .fd = file, .len = psize,
	};

	ASSERT_EQ(0, ftruncate(file, psize));
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, error);
	sqe.addr = (uintptr_t)self->ro;
	EXPECT_EQ(-EFAULT, uring_do(&ring, &sqe));
	UNCHANGED();
	sqe.addr = (uintptr_t)self->rw;
	EXPECT_EQ(psize, uring_do(&ring, &sqe));
	CHANGED();
	uring_close(&ring);
}

TEST_F(readonly, io_uring_direct)
{
	char path[32];
	int disk = disk_new(MIB, path, sizeof(path)), direct, error;
	struct uring ring;
	struct io_uring_sqe sqe = { .opcode = IORING_OP_READ, .len = psize };

	ASSERT_LE(0, disk);
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, direct);
	sqe.fd = direct;
	sqe.addr = (uintptr_t)self->ro;
	EXPECT_EQ(-EFAULT, uring_do(&ring, &sqe));
	UNCHANGED();
	sqe.addr = (uintptr_t)self->rw;
	EXPECT_EQ(psize, uring_do(&ring, &sqe));
	CHANGED();
	uring_close(&ring);
	close(direct);
	close(disk);
}

/* Registered buffers are pinned for writing: they cannot be read-only. */
TEST_F(readonly, io_uring_fixed)
{
	int file = memfd_create("file", MFD_CLOEXEC), error;
	struct uring ring, other;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ_FIXED, .fd = file, .len = psize,
	};

	ASSERT_EQ(0, ftruncate(file, psize));
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, uring_new(&other));
	EXPECT_EQ(-EFAULT, uring_buffer(&ring, self->ro, self->size));
	sqe.addr = (uintptr_t)self->ro;
	EXPECT_GT(0, uring_do(&ring, &sqe));
	UNCHANGED();
	EXPECT_EQ(0, uring_buffer(&other, self->rw, self->size));
	sqe.addr = (uintptr_t)self->rw;
	EXPECT_EQ(psize, uring_do(&other, &sqe));
	CHANGED();
	uring_close(&ring);
	uring_close(&other);
}

/*
 * vmsplice() from memory gives its pages to a pipe, to be read; to memory (the
 * pipe's reading end) it copies.
 */
TEST_F(readonly, vmsplice)
{
	struct iovec iov = { self->ro, psize };
	uint64_t value = 42, got = 0;
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(psize, vmsplice(pipes[1], &iov, 1, 0));
	EXPECT_EQ(8, read(pipes[0], &got, 8));
	EXPECT_EQ(mix(1, 0), got);
	UNCHANGED();
	ASSERT_EQ(0, close(pipes[0]));
	ASSERT_EQ(0, close(pipes[1]));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(8, write(pipes[1], &value, 8));
	iov.iov_len = 8;
	EXPECT_EQ(-1, vmsplice(pipes[0], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	iov.iov_base = self->rw;
	EXPECT_EQ(8, vmsplice(pipes[0], &iov, 1, 0));
	EXPECT_EQ(42, peek(self->rw));
	CHANGED();
}

/* ---- by another process, and by force ------------------------------------ */

TEST_F(readonly, process_vm_writev)
{
	uint64_t value = 42;
	struct iovec from = { &value, 8 }, to = { self->ro, 8 };
	struct peer peer;

	ASSERT_EQ(0, peer_start(&peer));
	/* In a process that has touched it, and in one that has not. */
	EXPECT_EQ(-1, process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(peer.pid, &from, 1, &to, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	to.iov_base = self->rw;
	EXPECT_EQ(8, process_vm_writev(peer.pid, &from, 1, &to, 1, 0));
	EXPECT_EQ(42, peek(self->rw));
	CHANGED();
}

/* Debuggers may write to what is read-only, but not to what is shared. */
TEST_F(readonly, proc_mem)
{
	char path[64];
	uint64_t value = 42;
	struct peer peer;
	int mem;

	ASSERT_EQ(0, peer_start(&peer));
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ(-1, pwrite(mem, &value, 8, (uintptr_t)self->ro));
	EXPECT_EQ(EIO, errno);
	UNCHANGED();
	snprintf(path, sizeof(path), "/proc/%d/mem", peer.pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	EXPECT_EQ(-1, pwrite(mem, &value, 8, (uintptr_t)self->ro));
	EXPECT_EQ(EIO, errno);
	UNCHANGED();
	EXPECT_EQ(8, pwrite(mem, &value, 8, (uintptr_t)self->rw));
	EXPECT_EQ(42, peek(self->rw));
	CHANGED();
}

TEST_F(readonly, ptrace)
{
	struct peer peer;
	int status;

	ASSERT_EQ(0, peer_start(&peer));
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, peer.pid, NULL, NULL));
	ASSERT_EQ(peer.pid, waitpid(peer.pid, &status, 0));
	errno = 0;
	EXPECT_EQ(mix(1, 0), ptrace(PTRACE_PEEKDATA, peer.pid, self->ro, NULL));
	EXPECT_EQ(0, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, peer.pid, self->ro, 42L));
	EXPECT_TRUE(errno == EIO || errno == EFAULT);
	UNCHANGED();
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, peer.pid, self->rw, 42L));
	EXPECT_EQ(42, peek(self->rw));
	CHANGED();
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, peer.pid, NULL, NULL));
}

/* ---- futexes -------------------------------------------------------------- */

static long futex(void *addr, int op, int value, const struct timespec *timeout,
		  void *addr2, int value3)
{
	return syscall(__NR_futex, addr, op, value, timeout, addr2, value3);
}

TEST_F(readonly, futex_lock_pi)
{
	struct timespec soon = {};
	int *ro = (int *)(self->ro + 64), *rw = (int *)(self->rw + 64);

	*rw = 0;
	EXPECT_EQ(-1, futex(ro, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, *rw);
	EXPECT_EQ(-1, futex(ro, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, *rw);
	/* To look is allowed, to wake as well. */
	EXPECT_EQ(0, futex(ro, FUTEX_WAKE, 1, NULL, NULL, 0));
	EXPECT_EQ(-1, futex(ro, FUTEX_WAIT, 0, &soon, NULL, 0));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(-1, futex(ro, FUTEX_WAIT, 1, &soon, NULL, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, *rw);
	UNCHANGED();
	EXPECT_EQ(0, futex(rw, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	EXPECT_EQ(gettid(), *ro & FUTEX_TID_MASK);
	EXPECT_EQ(0, futex(rw, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
}

TEST_F(readonly, futex_wake_op)
{
	int *ro = (int *)(self->ro + 64), *rw = (int *)(self->rw + 64);
	int op = FUTEX_OP(FUTEX_OP_SET, 7, FUTEX_OP_CMP_EQ, 0);
	static int other;

	*rw = 0;
	EXPECT_EQ(-1, futex(&other, FUTEX_WAKE_OP, 1, (void *)1L, ro, op));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, *rw);
	UNCHANGED();
	EXPECT_EQ(0, futex(&other, FUTEX_WAKE_OP, 1, (void *)1L, rw, op));
	EXPECT_EQ(7, *ro);
}

/* A list of locks that is walked when a thread dies. */
static long die_with_robust_list(long addr, long writable, long unused)
{
	static struct {
		struct robust_list_head head;
		struct robust_list entry;
	} list;

	/* An entry of which the lock word is in the attachment. */
	list.head.list.next = &list.entry;
	list.entry.next = &list.head.list;
	list.head.futex_offset = addr - (long)&list.entry;
	list.head.list_op_pending = NULL;
	*(int *)writable = gettid();
	if (syscall(__NR_set_robust_list, &list.head, sizeof(list.head)))
		return 1;
	return 0;
}

TEST_F(readonly, robust_list)
{
	int *rw = (int *)(self->rw + 64);

	EXPECT_EQ(0, in_child(die_with_robust_list, (long)self->ro + 64,
			      (long)rw, 0));
	/* The owner's number, and no mark of its death. */
	EXPECT_EQ(0, *rw & FUTEX_OWNER_DIED);
	UNCHANGED();
	EXPECT_EQ(0, in_child(die_with_robust_list, (long)self->rw + 64,
			      (long)rw, 0));
	EXPECT_EQ(FUTEX_OWNER_DIED, *rw & FUTEX_OWNER_DIED);
}

/* The word that is cleared when a thread dies. */
static long die_clearing(long addr, long unused, long unused2)
{
	return syscall(__NR_set_tid_address, (int *)addr) < 0;
}

static long exit_cleared(long addr, long unused, long unused2)
{
	/* It is only cleared while somebody else has the mm. */
	pid_t pid = vfork();

	if (pid == 0) {
		die_clearing(addr, 0, 0);
		_exit(0);
	}
	return waitpid(pid, NULL, 0) != pid;
}

TEST_F(readonly, clear_child_tid)
{
	EXPECT_EQ(0, exit_cleared((long)self->ro, 0, 0));
	UNCHANGED();
	EXPECT_EQ(0, exit_cleared((long)self->rw, 0, 0));
	CHANGED();
}

/* ---- protection of the region --------------------------------------------- */

/* The same, if it is what is mapped that is read-only. */
TEST_F(readonly, mapped_read_only)
{
	uint64_t value = 42;
	struct iovec from = { &value, 8 }, to = { self->rw, 8 };
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), mem, disk, direct;
	char path[32];

	ASSERT_EQ(0, region_protect(self->fd, 0, self->size, PROT_READ));
	EXPECT_EQ(SIGSEGV, probe_write(self->rw, 9));
	EXPECT_EQ(-1, read(zero, self->rw, psize));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	EXPECT_EQ(-1, pwrite(mem, &value, 8, (uintptr_t)self->rw));
	disk = disk_new(MIB, path, sizeof(path));
	ASSERT_LE(0, disk);
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	EXPECT_EQ(-1, pread(direct, self->rw, psize, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, futex(self->rw + 64, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	UNCHANGED();
	ASSERT_EQ(0, region_protect(self->fd, 0, self->size, RW));
	EXPECT_EQ(psize, pread(direct, self->rw, psize, 0));
	CHANGED();
	close(direct);
	close(disk);
}

/* And if nothing may be done there: not to be read by force either. */
TEST_F(readonly, mapped_without_access)
{
	uint64_t value = 42;
	struct iovec local = { &value, 8 }, there = { self->rw, 8 };
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC), pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, region_protect(self->fd, 0, self->size, PROT_NONE));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->rw, 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->ro, 0, 0));
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, process_vm_writev(getpid(), &local, 1, &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(mem, &value, 8, (uintptr_t)self->rw));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(mem, &value, 8, (uintptr_t)self->rw));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, write(pipes[1], self->rw, 8));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, vmsplice(pipes[1], &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, region_protect(self->fd, 0, self->size, RW));
	UNCHANGED();
	EXPECT_EQ(8, process_vm_readv(getpid(), &local, 1, &there, 1, 0));
	EXPECT_EQ(mix(1, 0), value);
}

/* Holes are nowhere. */
TEST_F(readonly, holes)
{
	uint64_t value = 42;
	struct iovec local = { &value, 8 }, there = { self->rw + SLOT / 2, 8 };
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC), zero, pipes[2];

	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-1, process_vm_readv(getpid(), &local, 1, &there, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(mem, &value, 8, (uintptr_t)there.iov_base));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pwrite(mem, &value, 8, (uintptr_t)there.iov_base));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, read(zero, there.iov_base, 8));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, write(pipes[1], there.iov_base, 8));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, futex(there.iov_base, FUTEX_WAIT, 0, NULL, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	/* Up to the hole, then. */
	EXPECT_EQ(psize, read(zero, self->rw + self->size - psize, 2 * psize));
}

TEST_HARNESS_MAIN
