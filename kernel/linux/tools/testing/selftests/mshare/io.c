// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory in a region is memory: the kernel reads from it and writes to it on
 * behalf of any attacher as it does with other shared memory, whether the pages
 * have been touched before or not, by this process or by another one.
 */
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "mshare_test.h"

#define PAGES	16

FIXTURE(io) {
	struct env env;
	int fd;
	int file;
	char *map;
	size_t size;
};

FIXTURE_VARIANT(io) {
	enum backing_kind kind;
	bool touched;
};

FIXTURE_VARIANT_ADD(io, memory) {
	.kind = ANONYMOUS,
	.touched = true,
};

/* Nobody has: the kernel is the first, and links the slot for that. */
FIXTURE_VARIANT_ADD(io, memory_untouched) {
	.kind = ANONYMOUS,
	.touched = false,
};

FIXTURE_VARIANT_ADD(io, memfd) {
	.kind = MEMFD,
	.touched = true,
};

FIXTURE_VARIANT_ADD(io, ext4_untouched) {
	.kind = EXT4,
	.touched = false,
};

FIXTURE_SETUP(io)
{
	self->size = PAGES * psize;
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	if (variant->touched)
		fill_pages(self->map, self->size, 1);
}

FIXTURE_TEARDOWN(io)
{
	ENV_LEAVE(&self->env);
}

/* A file with what fill_pages() would have written. */
static int pattern_file(size_t size, uint64_t seed)
{
	int fd = memfd_create("pattern", MFD_CLOEXEC);
	char *map;

	if (fd < 0 || ftruncate(fd, size))
		return -1;
	map = mmap(NULL, size, RW, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	fill_pages(map, size, seed);
	munmap(map, size);
	return fd;
}

TEST_F(io, read)
{
	int file = pattern_file(self->size, 7);

	ASSERT_LE(0, file);
	EXPECT_EQ(self->size, read(file, self->map, self->size));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
}

TEST_F(io, write)
{
	int file = memfd_create("file", MFD_CLOEXEC);
	char *copy;

	/* Zeroes are what is in pages that nobody has touched. */
	EXPECT_EQ(self->size, write(file, self->map, self->size));
	copy = mmap(NULL, self->size, RW, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, copy);
	EXPECT_EQ(0, memcmp(copy, self->map, self->size));
	fill_pages(self->map, self->size, 7);
	EXPECT_EQ(self->size, pwrite(file, self->map, self->size, 0));
	EXPECT_EQ(0, check_pages(copy, self->size, 7));
}

TEST_F(io, from_one_region_to_itself)
{
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	fill_pages(self->map, psize, 7);
	EXPECT_EQ(psize, write(pipes[1], self->map, psize));
	EXPECT_EQ(psize, read(pipes[0], self->map + 8 * psize, psize));
	EXPECT_EQ(mix(7, 0), peek(self->map + 8 * psize));
}

TEST_F(io, messages)
{
	struct iovec iov = { self->map, psize };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair));
	fill_pages(self->map, psize, 7);
	EXPECT_EQ(psize, sendmsg(pair[0], &msg, 0));
	iov.iov_base = self->map + 8 * psize;
	EXPECT_EQ(psize, recvmsg(pair[1], &msg, 0));
	EXPECT_EQ(mix(7, 0), peek(self->map + 8 * psize));
}

/* From the file that is mapped, as it was written through the mapping. */
TEST_F(io, sendfile)
{
	loff_t offset = psize;
	uint64_t got = 0;
	int pipes[2];

	if (self->file == -1)
		return;
	ASSERT_EQ(0, pipe(pipes));
	fill_pages(self->map, self->size, 7);
	EXPECT_EQ(psize, sendfile(pipes[1], self->file, &offset, psize));
	EXPECT_EQ(8, read(pipes[0], &got, 8));
	EXPECT_EQ(mix(7, psize), got);
	ASSERT_EQ(0, close(pipes[0]));
	ASSERT_EQ(0, close(pipes[1]));
	ASSERT_EQ(0, pipe(pipes));
	offset = 2 * psize;
	EXPECT_EQ(psize, splice(self->file, &offset, pipes[1], NULL, psize, 0));
	EXPECT_EQ(8, read(pipes[0], &got, 8));
	EXPECT_EQ(mix(7, 2 * psize), got);
}

/* Pages in a pipe are those of the region, and stay though it unmaps them. */
TEST_F(io, vmsplice)
{
	struct iovec iov = { self->map, 2 * psize };
	uint64_t got[2] = {};
	char *rest = malloc(psize - 8);
	int pipes[2];

	ASSERT_EQ(0, pipe(pipes));
	fill_pages(self->map, self->size, 7);
	EXPECT_EQ(2 * psize, vmsplice(pipes[1], &iov, 1, 0));
	poke(self->map, 42);
	EXPECT_EQ(0, region_unmap(self->fd, 0, self->size));
	EXPECT_EQ(8, read(pipes[0], &got[0], 8));
	EXPECT_EQ(psize - 8, read(pipes[0], rest, psize - 8));
	EXPECT_EQ(8, read(pipes[0], &got[1], 8));
	EXPECT_EQ(42, got[0]);
	EXPECT_EQ(mix(7, psize), got[1]);
	free(rest);
}

TEST_F(io, direct)
{
	char path[32];
	int disk = disk_new(MIB, path, sizeof(path)), direct;

	ASSERT_LE(0, disk);
	direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, direct);
	/* In first: the pages are pinned before anybody has seen them. */
	EXPECT_EQ(self->size, pread(direct, self->map, self->size, 0));
	EXPECT_EQ(0, peek(self->map));
	fill_pages(self->map, self->size, 7);
	EXPECT_EQ(self->size, pwrite(direct, self->map, self->size, 0));
	fill_pages(self->map, self->size, 8);
	EXPECT_EQ(self->size, pread(direct, self->map, self->size, 0));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
	close(direct);
	close(disk);
}

TEST_F(io, io_uring)
{
	int file = pattern_file(self->size, 7), error;
	struct uring ring;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ,
		.fd = file,
		.addr = (uintptr_t)self->map,
		.len = self->size,
	};

	ASSERT_LE(0, file);
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, error);
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
	fill_pages(self->map, self->size, 8);
	sqe.opcode = IORING_OP_WRITE;
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	fill_pages(self->map, self->size, 9);
	sqe.opcode = IORING_OP_READ;
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	EXPECT_EQ(0, check_pages(self->map, self->size, 8));
	uring_close(&ring);
}

/* Asynchronously, by a worker that runs in the attacher's address space. */
TEST_F(io, io_uring_worker)
{
	int file = pattern_file(self->size, 7), error;
	struct uring ring;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ,
		.flags = IOSQE_ASYNC,
		.fd = file,
		.addr = (uintptr_t)self->map,
		.len = self->size,
	};

	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, error);
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
	sqe.addr = (uintptr_t)self->map + self->size;
	EXPECT_EQ(-EFAULT, uring_do(&ring, &sqe));
	uring_close(&ring);
}

/*
 * Registered buffers: pinned for as long as the ring is there, though nothing
 * maps them any more. Of memory; files are in file.c.
 */
TEST_F(io, io_uring_fixed)
{
	int file = pattern_file(self->size, 7), error;
	struct uring ring;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ_FIXED,
		.fd = file,
		.addr = (uintptr_t)self->map,
		.len = self->size,
	};

	if (variant->kind == EXT4)
		return;
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, error);
	ASSERT_EQ(0, uring_buffer(&ring, self->map, self->size));
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
	fill_pages(self->map, self->size, 8);
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	sqe.opcode = IORING_OP_WRITE_FIXED;
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	/* The pages that are pinned are not those that are mapped now. */
	EXPECT_EQ(0, peek(self->map));
	EXPECT_EQ(self->size, pread(file, self->map, self->size, 0));
	EXPECT_EQ(0, check_pages(self->map, self->size, 8));
	sqe.opcode = IORING_OP_READ_FIXED;
	fill_pages(self->map, self->size, 9);
	EXPECT_EQ(self->size, uring_do(&ring, &sqe));
	EXPECT_EQ(0, check_pages(self->map, self->size, 9));
	uring_close(&ring);
}

TEST_F(io, process_vm)
{
	struct iovec here = {}, there = { self->map, self->size };
	struct peer peer;
	char *copy = mmap(NULL, self->size, RW, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	ASSERT_NE(MAP_FAILED, copy);
	here = (struct iovec) { copy, self->size };
	ASSERT_EQ(0, peer_start(&peer));
	/* The peer itself has touched nothing. */
	fill_pages(copy, self->size, 7);
	EXPECT_EQ(self->size, process_vm_writev(peer.pid, &here, 1, &there, 1,
						0));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
	memset(copy, 0, self->size);
	EXPECT_EQ(self->size, process_vm_readv(peer.pid, &here, 1, &there, 1, 0));
	EXPECT_EQ(0, check_pages(copy, self->size, 7));
}

TEST_F(io, proc_mem)
{
	struct peer peer;
	char path[64];
	char *copy = mmap(NULL, self->size, RW, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);
	int mem;

	ASSERT_NE(MAP_FAILED, copy);
	ASSERT_EQ(0, peer_start(&peer));
	snprintf(path, sizeof(path), "/proc/%d/mem", peer.pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	fill_pages(copy, self->size, 7);
	EXPECT_EQ(self->size, pwrite(mem, copy, self->size,
				     (uintptr_t)self->map));
	EXPECT_EQ(0, check_pages(self->map, self->size, 7));
	memset(copy, 0, self->size);
	EXPECT_EQ(self->size, pread(mem, copy, self->size, (uintptr_t)self->map));
	EXPECT_EQ(0, check_pages(copy, self->size, 7));
}

TEST_F(io, ptrace)
{
	struct peer peer;
	int status;

	ASSERT_EQ(0, peer_start(&peer));
	ASSERT_EQ(0, ptrace(PTRACE_ATTACH, peer.pid, NULL, NULL));
	ASSERT_EQ(peer.pid, waitpid(peer.pid, &status, 0));
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, peer.pid, self->map + psize, 42L));
	EXPECT_EQ(42, peek(self->map + psize));
	EXPECT_EQ(42, ptrace(PTRACE_PEEKDATA, peer.pid, self->map + psize, NULL));
	EXPECT_EQ(0, ptrace(PTRACE_DETACH, peer.pid, NULL, NULL));
}

/* A system call that reads its arguments from an attachment. */
TEST_F(io, arguments)
{
	struct stat *st = (void *)(self->map + psize);

	strcpy(self->map, "/proc/self");
	EXPECT_EQ(0, syscall(__NR_stat, self->map, st));
	EXPECT_TRUE(S_ISDIR(st->st_mode));
	/* Across two pages. */
	strcpy(self->map + 4 * psize - 5, "/proc/self");
	EXPECT_EQ(0, syscall(__NR_stat, self->map + 4 * psize - 5, st));
}

/* What a call is answered by may be in the region that it changes. */
TEST_F(io, ioctl_arguments)
{
	struct mshare_region_info *info = (void *)self->map;
	struct mshare_unmap *arg = (void *)self->map;
	struct mshare_mapping_entry *entries = (void *)self->map;

	EXPECT_EQ(0, ioctl(self->fd, MSHAREFS_GET_INFO, info));
	EXPECT_EQ(SLOT, info->window);
	EXPECT_EQ(1, region_list(self->fd, 0, entries, 16, NULL));
	EXPECT_EQ(self->size, entries[0].size);
	/* Its own ground. */
	*arg = (struct mshare_unmap) { 0, psize };
	EXPECT_EQ(0, ioctl(self->fd, MSHAREFS_UNMAP, arg));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->map, 0, 0));
	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_GET_INFO, info));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-EFAULT, region_list(self->fd, 0, entries, 16, NULL));
}

/* A stack in a region: clone() to it, signals on it. */
static int on_stack(void *arg)
{
	volatile char big[2048];

	memset((char *)big, 5, sizeof(big));
	*(volatile long *)arg = (long)big;
	return big[100];
}

TEST_F(io, stack)
{
	long *where = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, where);
	pid = clone(on_stack, self->map + self->size, SIGCHLD, where);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(5 << 8, status);
	EXPECT_TRUE(*where >= (long)self->map &&
		    *where < (long)self->map + (long)self->size);
}

TEST_HARNESS_MAIN
