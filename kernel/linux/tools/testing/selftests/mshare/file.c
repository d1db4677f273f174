// SPDX-License-Identifier: GPL-2.0-only
/*
 * Files inside a region: what attachers write is in the file, and the other way
 * round; what happens to the file happens under all attachers; a page that is
 * written back is protected, and found dirty again, in tables that several
 * share; and what may not be pinned for long in a file may not be pinned through
 * an attachment either.
 */
#include <linux/falloc.h>
#include <sys/sendfile.h>

#include "mshare_test.h"

#define PAGES	16

FIXTURE(file) {
	struct env env;
	int fd;
	int file;
	char *map;
	size_t size;
	struct peer peer;
};

FIXTURE_VARIANT(file) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(file, memfd) {
	.kind = MEMFD,
};

FIXTURE_VARIANT_ADD(file, ext4) {
	.kind = EXT4,
};

FIXTURE_SETUP(file)
{
	self->size = PAGES * psize;
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, region_map_file(self->fd, 0, self->size, RW, self->file,
				     0));
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, peer_start(&self->peer));
	ASSERT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 1));
}

FIXTURE_TEARDOWN(file)
{
	ENV_LEAVE(&self->env);
}

static uint64_t in_file(int file, off_t offset)
{
	uint64_t value = 0;

	return pread(file, &value, 8, offset) == 8 ? value : (uint64_t)-1;
}

TEST_F(file, one_content)
{
	uint64_t value = 42;

	for (size_t i = 0; i < self->size; i += psize)
		EXPECT_EQ(mix(1, i), in_file(self->file, i));
	EXPECT_EQ(8, pwrite(self->file, &value, 8, psize));
	EXPECT_EQ(42, peek(self->map + psize));
	EXPECT_EQ(42, peer_call(&self->peer, do_read, (long)self->map + psize, 0,
				0));
	EXPECT_EQ(0, peer_call(&self->peer, do_write, (long)self->map + psize,
			       43, 0));
	EXPECT_EQ(43, in_file(self->file, psize));
}

/* A process that maps the file by itself sees the same. */
TEST_F(file, mapped_outside_as_well)
{
	char *map = mmap(NULL, self->size, RW, MAP_SHARED, self->file, 0);

	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, check_pages(map, self->size, 1));
	fill_pages(map, self->size, 2);
	EXPECT_EQ(0, peer_call(&self->peer, do_check, (long)self->map,
			       self->size, 2));
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	EXPECT_EQ(0, check_pages(map, self->size, 2));
	EXPECT_EQ(0, munmap(map, self->size));
}

TEST_F(file, outlives_the_region)
{
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	for (size_t i = 0; i < self->size; i += psize)
		EXPECT_EQ(mix(1, i), in_file(self->file, i));
}

/* A part of it, from the middle, into the middle. */
TEST_F(file, offset)
{
	ASSERT_EQ(0, region_map_file(self->fd, SLOT / 2, 4 * psize, RW,
				     self->file, 4 * psize));
	for (size_t i = 0; i < 4; i++)
		EXPECT_EQ(mix(1, (4 + i) * psize),
			  peek(self->map + SLOT / 2 + i * psize));
	poke(self->map + SLOT / 2 + psize, 5);
	EXPECT_EQ(5, peek(self->map + 5 * psize));
}

TEST_F(file, truncated_under_a_mapping)
{
	/* In the middle of a page: the rest of that reads as zeroes. */
	poke(self->map + 4 * psize + 2048, 7);
	ASSERT_EQ(0, ftruncate(self->file, 4 * psize + 2048));
	EXPECT_EQ(mix(1, 4 * psize), peek(self->map + 4 * psize));
	EXPECT_EQ(0, peek(self->map + 4 * psize + 2048));
	EXPECT_EQ(SIG(SIGBUS), do_read((long)self->map + 5 * psize, 0, 0));
	EXPECT_EQ(SIG(SIGBUS), do_write((long)self->map + 5 * psize, 1, 0));
	EXPECT_EQ(SIG(SIGBUS), peer_call(&self->peer, do_read,
					 (long)self->map + 5 * psize, 0, 0));
	EXPECT_EQ(SIG(SIGBUS), peer_call(&self->peer, do_write,
					 (long)self->map + 5 * psize, 1, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->map + self->size, 0, 0));
	ASSERT_EQ(0, ftruncate(self->file, self->size));
	EXPECT_EQ(0, peer_call(&self->peer, do_read, (long)self->map + 5 * psize,
			       0, 0));
	EXPECT_EQ(0, peer_call(&self->peer, do_write,
			       (long)self->map + 5 * psize, 8, 0));
	EXPECT_EQ(8, peek(self->map + 5 * psize));
	ASSERT_EQ(0, ftruncate(self->file, 0));
	EXPECT_EQ(SIG(SIGBUS), peer_call(&self->peer, do_read, (long)self->map,
					 0, 0));
	/* No error of a call's kind: it is mapped. */
	EXPECT_EQ(self->size, region_info(self->fd).mapped);
	EXPECT_EQ(-EEXIST, region_map(self->fd, 0, psize, RW));
}

TEST_F(file, hole_punched)
{
	ASSERT_EQ(0, fallocate(self->file,
			       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       psize, 2 * psize));
	EXPECT_EQ(mix(1, 0), peer_call(&self->peer, do_read, (long)self->map, 0,
				       0));
	EXPECT_EQ(0, peer_call(&self->peer, do_read, (long)self->map + psize, 0,
			       0));
	EXPECT_EQ(0, peek(self->map + 2 * psize));
	EXPECT_EQ(mix(1, 3 * psize), peek(self->map + 3 * psize));
	/* Advice that punches is for who owns the file, not for who maps it. */
	EXPECT_EQ(-EOPNOTSUPP, region_advise(self->fd, 3 * psize, psize,
					     MADV_REMOVE));
	EXPECT_EQ(mix(1, 3 * psize), peek(self->map + 3 * psize));
}

TEST_F(file, grown)
{
	ASSERT_EQ(0, region_map_file(self->fd, self->size, self->size, RW,
				     self->file, self->size));
	EXPECT_EQ(SIG(SIGBUS), do_read((long)self->map + self->size, 0, 0));
	ASSERT_EQ(0, ftruncate(self->file, 2 * self->size));
	EXPECT_EQ(0, peer_call(&self->peer, do_read,
			       (long)self->map + self->size, 0, 0));
	EXPECT_EQ(0, do_write((long)self->map + self->size, 4, 0));
	EXPECT_EQ(4, in_file(self->file, self->size));
}

/*
 * What is written after a page has been written back must be written back, too:
 * the table's entry is protected meanwhile, once for all, and every attacher's
 * TLB has to forget that it could write.
 */
TEST_F(file, written_back_again)
{
	int direct = reopen(self->file, O_RDONLY | O_DIRECT), rounds, wrong = 0;
	char *page = mmap(NULL, psize, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (variant->kind != EXT4)
		return;
	ASSERT_LE(0, direct);
	rounds = by_scale(5, 50);
	for (int i = 0; i < rounds; i++) {
		/* By the one, by the other. */
		poke(self->map, 1000 + i);
		peer_call(&self->peer, do_write, (long)self->map + psize,
			  2000 + i, 0);
		ASSERT_EQ(0, fdatasync(self->file));
		ASSERT_EQ(psize, pread(direct, page, psize, 0));
		wrong += peek(page) != 1000 + i;
		ASSERT_EQ(psize, pread(direct, page, psize, psize));
		wrong += peek(page) != 2000 + i;
	}
	EXPECT_EQ(0, wrong);
}

TEST_F(file, msync)
{
	poke(self->map, 5);
	EXPECT_EQ(0, msync(self->map, SLOT, MS_SYNC));
	EXPECT_EQ(0, msync(self->map, self->size, MS_ASYNC));
	EXPECT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, fsync(self->file));
	EXPECT_EQ(5, in_file(self->file, 0));
}

/* It is in use for as long as it is mapped somewhere. */
TEST_F(file, keeps_the_file_system_busy)
{
	if (variant->kind != EXT4)
		return;
	ASSERT_EQ(0, close(self->file));
	ASSERT_EQ(0, peer_stop(&self->peer));
	EXPECT_EQ(-1, umount(self->env.disk));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
	ASSERT_EQ(0, region_unmap(self->fd, 0, psize));
	EXPECT_EQ(-1, umount(self->env.disk));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, region_unmap(self->fd, psize, self->size - psize));
	EXPECT_EQ(0, umount(self->env.disk));
	rmdir(self->env.disk);
	self->env.disk[0] = 0;
}

TEST_F(file, disk_full)
{
	size_t big = 64 * MIB;
	int file, sig = 0;
	long i;

	if (variant->kind != EXT4)
		return;
	file = open(self->env.disk, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, file);
	/* Holes all through; more of them than there is disk. */
	ASSERT_EQ(0, ftruncate(file, big));
	ASSERT_EQ(0, region_map_file(self->fd, SLOT / 2, big, RW, file, 0));
	for (i = 0; i < (long)big && !sig; i += psize)
		sig = probe_write(self->map + SLOT / 2 + i, i);
	EXPECT_EQ(SIGBUS, sig);
	EXPECT_LT(psize, i);
	note("SIGBUS after %ld MiB", i / (long)MIB);
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
}

/*
 * A page that is pinned to be written to, by whom and when nobody knows, cannot
 * be written back by a file system in any order. So such pins are refused for
 * files: by what is mapped in the region, since the attachment itself is of a
 * file of another kind.
 */
TEST_F(file, pinned_for_long)
{
	int source = memfd_create("source", MFD_CLOEXEC), error;
	struct uring ring;
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_READ_FIXED,
		.fd = source,
		.addr = (uintptr_t)self->map,
		.len = psize,
	};

	ASSERT_EQ(0, ftruncate(source, psize));
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, error);
	error = uring_buffer(&ring, self->map, self->size);
	if (variant->kind == EXT4) {
		EXPECT_TRUE(error == -EFAULT || error == -EOPNOTSUPP) {
			TH_LOG("%s", strerror(-error));
		}
		/* What is mapped is what counts, page for page. */
		ASSERT_EQ(0, region_map(self->fd, SLOT / 2, psize, RW));
		EXPECT_EQ(0, uring_buffer(&ring, self->map + SLOT / 2, psize));
		/* As it is without a region. */
		uring_close(&ring);
		ASSERT_EQ(0, uring_new(&ring));
		EXPECT_GT(0, uring_buffer(&ring,
					  mmap(NULL, psize, RW, MAP_SHARED,
					       self->file, 0), psize));
	} else {
		EXPECT_EQ(0, error);
		EXPECT_EQ(psize, uring_do(&ring, &sqe));
		EXPECT_EQ(0, peek(self->map));
	}
	EXPECT_EQ(mix(1, psize), peek(self->map + psize));
	uring_close(&ring);
}

/* Untouched in the tables, which is where the fast path would look. */
TEST_F(file, pinned_for_long_untouched)
{
	struct uring ring;
	int error;

	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_DONTNEED));
	error = uring_new(&ring);
	if (error == -ENOSYS || error == -EPERM)
		SKIP_REST(return, "no io_uring");
	ASSERT_EQ(0, error);
	error = uring_buffer(&ring, self->map, self->size);
	if (variant->kind == EXT4) {
		EXPECT_TRUE(error == -EFAULT || error == -EOPNOTSUPP) {
			TH_LOG("%s", strerror(-error));
		}
	} else {
		EXPECT_EQ(0, error);
	}
	uring_close(&ring);
}

/* Code in a file. */
TEST_F(file, executed)
{
	char path[128];
	int file;

	if (variant->kind != EXT4)
		return;
	/* ret, in a file that may be executed */
	snprintf(path, sizeof(path), "%s/code", self->env.disk);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	ASSERT_LE(0, file);
	ASSERT_EQ(1, pwrite(file, "\xc3", 1, 0));
	ASSERT_EQ(0, ftruncate(file, psize));
	ASSERT_EQ(0, region_map_file(self->fd, SLOT / 2, psize,
				     PROT_READ | PROT_EXEC, file, 0));
	EXPECT_EQ(0, probe_exec(self->map + SLOT / 2));
	EXPECT_EQ(SIGSEGV, probe_exec(self->map));
	EXPECT_EQ(0, region_protect(self->fd, SLOT / 2, psize, PROT_READ));
	EXPECT_EQ(SIGSEGV, probe_exec(self->map + SLOT / 2));
}

/* Reads bring in a run of pages at once; what comes in is for all. */
TEST_F(file, read_ahead)
{
	long faults;

	ASSERT_EQ(0, region_advise(self->fd, 0, self->size, MADV_DONTNEED));
	peer_call(&self->peer, do_touch, (long)self->map, 0, 0);
	faults = peer_call(&self->peer, do_touch, (long)self->map, self->size,
			   0);
	EXPECT_LE(1, faults);
	/* Around each fault, up to 64 KiB that are in the page cache. */
	EXPECT_GE(PAGES / 2, faults);
	EXPECT_GE(1, do_touch((long)self->map, self->size, 0));
}

TEST_HARNESS_MAIN
