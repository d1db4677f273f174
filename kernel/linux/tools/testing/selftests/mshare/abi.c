// SPDX-License-Identifier: GPL-2.0-only
/*
 * The interface, call by call: what a region file answers to right and wrong
 * arguments, from 64-bit and from 32-bit callers; windows, bases, info and
 * lists. What the contents then do is in basic.c, what an attachment refuses in
 * refusals.c, names and rights in fs.c.
 */
#include <stddef.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "mshare_test.h"

#define SHARED		(MAP_SHARED | MAP_FIXED)
#define MEMORY		(SHARED | MAP_ANONYMOUS)

FIXTURE(abi) {
	struct env env;
	int fd;		/* a region of two slots */
	int none;	/* one without a window */
	int ro;		/* the first one, read-only */
};

FIXTURE_SETUP(abi)
{
	ENV_ENTER(&self->env, NULL);
	self->fd = region_new(self->env.dir, "region", 2 * SLOT);
	ASSERT_LE(0, self->fd);
	self->none = region_new(self->env.dir, "none", 0);
	ASSERT_LE(0, self->none);
	self->ro = reopen(self->fd, O_RDONLY);
	ASSERT_LE(0, self->ro);
}

FIXTURE_TEARDOWN(abi)
{
	ENV_LEAVE(&self->env);
}

/* Structures are what programs were compiled with; they do not change. */
TEST(layout)
{
	EXPECT_EQ(40, sizeof(struct mshare_create));
	EXPECT_EQ(32, offsetof(struct mshare_create, fd));
	EXPECT_EQ(16, sizeof(struct mshare_unmap));
	EXPECT_EQ(24, sizeof(struct mshare_protect));
	EXPECT_EQ(24, sizeof(struct mshare_advise));
	EXPECT_EQ(24, sizeof(struct mshare_reserve));
	EXPECT_EQ(16, sizeof(struct mshare_base));
	EXPECT_EQ(128, sizeof(struct mshare_region_info));
	EXPECT_EQ(24, sizeof(struct mshare_mapping_entry));
	EXPECT_EQ(32, sizeof(struct mshare_list_mappings));
	EXPECT_EQ(32, sizeof(struct mshare_map_mapped));
	EXPECT_EQ(0x40287800, MSHAREFS_CREATE_MAPPING);
	EXPECT_EQ(0x40107801, MSHAREFS_UNMAP);
}

TEST_F(abi, window_by_ftruncate)
{
	struct stat st;

	EXPECT_EQ(-1, ftruncate(self->none, SLOT / 2));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(self->none, SLOT + psize));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(self->none, 1UL << 62));
	EXPECT_EQ(EFBIG, errno);
	ASSERT_EQ(0, fstat(self->none, &st));
	EXPECT_EQ(0, st.st_size);

	/* Nothing was given away by those. */
	EXPECT_EQ(0, ftruncate(self->none, 3 * SLOT));
	ASSERT_EQ(0, fstat(self->none, &st));
	EXPECT_EQ(3 * SLOT, st.st_size);
	EXPECT_EQ(0, ftruncate(self->none, 3 * SLOT));
	EXPECT_EQ(-1, ftruncate(self->none, 4 * SLOT));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(self->none, SLOT));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ftruncate(self->none, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(3 * SLOT, region_info(self->none).window);
	EXPECT_EQ(0, region_info(self->none).base);
}

TEST_F(abi, window_by_fallocate)
{
	static const int modes[] = {
		FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_COLLAPSE_RANGE,
		FALLOC_FL_INSERT_RANGE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		EXPECT_EQ(-1, fallocate(self->none, modes[i], 0, SLOT)) {
			TH_LOG("mode %#x", modes[i]);
		}
		EXPECT_TRUE(errno == EOPNOTSUPP || errno == EINVAL) {
			TH_LOG("mode %#x: %s", modes[i], strerror(errno));
		}
	}
	EXPECT_EQ(0, region_info(self->none).window);
	EXPECT_EQ(-1, fallocate(self->none, 0, 0, SLOT + psize));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, fallocate(self->none, 0, 0, 2 * SLOT));
	EXPECT_EQ(2 * SLOT, region_info(self->none).window);
	EXPECT_EQ(0, fallocate(self->none, 0, 0, 2 * SLOT));
	EXPECT_EQ(-1, fallocate(self->none, 0, 0, 3 * SLOT));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(abi, window_by_path)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/none", self->env.dir);
	EXPECT_EQ(0, truncate(path, SLOT));
	EXPECT_EQ(SLOT, region_info(self->none).window);
	EXPECT_EQ(-1, truncate(path, 2 * SLOT));
	EXPECT_EQ(EINVAL, errno);
}

/* A shell's > must not take the window away, nor do nothing silently. */
TEST_F(abi, open_trunc)
{
	EXPECT_EQ(-EINVAL, reopen(self->fd, O_RDWR | O_TRUNC));
	EXPECT_EQ(2 * SLOT, region_info(self->fd).window);
}

TEST_F(abi, reserve)
{
	uint64_t base = 0x600000000000, got = 1;
	struct mshare_reserve arg = { .size = 2 * SLOT, .base = base };

	EXPECT_EQ(-EEXIST, region_reserve(self->fd, 2 * SLOT, base));
	EXPECT_EQ(-EINVAL, region_reserve(self->none, 0, 0));
	EXPECT_EQ(-EINVAL, region_reserve(self->none, SLOT / 2, 0));
	EXPECT_EQ(-EINVAL, region_reserve(self->none, SLOT, psize));
	EXPECT_EQ(-EFBIG, region_reserve(self->none, 1UL << 50, 0));
	/* The window would end beyond the address space. */
	EXPECT_GT(0, region_reserve(self->none, SLOT, 1UL << 62));
	EXPECT_GT(0, region_reserve(self->none, SLOT, -SLOT));
	arg.flags = 1;
	EXPECT_EQ(-1, ioctl(self->none, MSHAREFS_RESERVE, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.flags = 0;
	arg.reserved = 1;
	EXPECT_EQ(-1, ioctl(self->none, MSHAREFS_RESERVE, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, region_info(self->none).window);

	EXPECT_EQ(0, region_reserve(self->none, 2 * SLOT, base));
	EXPECT_EQ(2 * SLOT, region_info(self->none).window);
	EXPECT_EQ(base, region_info(self->none).base);
	EXPECT_EQ(0, region_get_base(self->none, &got));
	EXPECT_EQ(base, got);
	EXPECT_EQ(-EEXIST, region_reserve(self->none, 2 * SLOT, base));
	EXPECT_EQ(-EEXIST, region_set_base(self->none, base));
}

TEST_F(abi, base)
{
	struct mshare_base arg = { .base = 0x600000000000 };
	uint64_t got = 1;

	EXPECT_EQ(-ENODATA, region_set_base(self->none, arg.base));
	EXPECT_EQ(0, region_get_base(self->fd, &got));
	EXPECT_EQ(0, got);
	EXPECT_EQ(-EINVAL, region_set_base(self->fd, arg.base + psize));
	EXPECT_GT(0, region_set_base(self->fd, 1UL << 62));
	arg.flags = 1;
	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_SET_BASE, &arg));
	EXPECT_EQ(EINVAL, errno);
	arg.flags = 0;
	arg.reserved = 1;
	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_SET_BASE, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-EACCES, region_set_base(self->ro, 0x600000000000));
	EXPECT_EQ(0, region_set_base(self->fd, 0x600000000000));
	EXPECT_EQ(-EEXIST, region_set_base(self->fd, 0x600000000000));
	EXPECT_EQ(-EEXIST, region_set_base(self->fd, 0x610000000000));
	EXPECT_EQ(0, region_get_base(self->ro, &got));
	EXPECT_EQ(0x600000000000, got);
}

/* Recorded, and given to those who do not ask for another place. */
TEST_F(abi, base_is_given)
{
	void *base = (void *)0x600000000000, *map, *other;

	ASSERT_EQ(0, region_set_base(self->fd, (uintptr_t)base));
	map = region_attach(self->fd, NULL, RW);
	EXPECT_EQ(base, map);
	/* Taken by the first one: somewhere else, and in one piece. */
	other = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, other);
	EXPECT_NE(base, other);
	EXPECT_EQ(0, (uintptr_t)other % SLOT);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	map = region_attach(self->fd, (void *)0x600080000000, RW);
	EXPECT_EQ((void *)0x600080000000, map);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	/* One page in the window is enough to be in the way. */
	map = mmap(base + 2 * SLOT - psize, psize, RW,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, munmap(other, 2 * SLOT));
	other = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, other);
	EXPECT_NE(base, other);
	EXPECT_EQ(0, munmap(other, 2 * SLOT));
	EXPECT_EQ(0, munmap(map, psize));
	EXPECT_EQ(base, region_attach(self->fd, NULL, RW));
}

TEST_F(abi, map_flags)
{
	static const int bad[] = {
		0, MAP_SHARED, MAP_FIXED, MAP_PRIVATE | MAP_FIXED,
		MAP_SHARED_VALIDATE | MAP_FIXED,
		SHARED | MAP_GROWSDOWN, SHARED | MAP_LOCKED, SHARED | MAP_SYNC,
		SHARED | MAP_STACK, SHARED | MAP_32BIT,
		SHARED | MAP_FIXED_NOREPLACE, SHARED | 0x80000000,
	};
	int huge = (int)(SHARED | MAP_ANONYMOUS | MAP_HUGETLB);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, region_map_flags(self->fd, 0, psize, RW,
						    bad[i] | MAP_ANONYMOUS,
						    -1, 0)) {
			TH_LOG("flags %#x", bad[i] | MAP_ANONYMOUS);
		}
	}
	EXPECT_EQ(-EOPNOTSUPP, region_map_flags(self->fd, 0, 2 * MIB, RW, huge,
						-1, 0));
	EXPECT_EQ(0, region_info(self->fd).mapped);
	EXPECT_EQ(0, region_info(self->fd).generation);
	EXPECT_EQ(0, region_map_flags(self->fd, 0, psize, RW, MEMORY, -1, 0));
	EXPECT_EQ(0, region_map_flags(self->fd, psize, psize, RW,
				      MEMORY | MAP_NORESERVE, -1, 0));
	EXPECT_EQ(0, region_info(self->fd).resident);
	EXPECT_EQ(0, region_map_flags(self->fd, 2 * psize, 4 * psize, RW,
				      MEMORY | MAP_POPULATE, -1, 0));
	EXPECT_EQ(4 * psize, region_info(self->fd).resident);
	EXPECT_EQ(6 * psize, region_info(self->fd).mapped);
}

TEST_F(abi, map_prot)
{
	uint64_t offset = 0;

	EXPECT_EQ(-EINVAL, region_map(self->fd, 0, psize, 0x80));
	EXPECT_EQ(-EINVAL, region_map(self->fd, 0, psize, RW | PROT_GROWSDOWN));
	EXPECT_EQ(-EINVAL, region_map(self->fd, 0, psize, RW | PROT_GROWSUP));
	for (int prot = 0; prot <= RWX; prot++, offset += psize) {
		EXPECT_EQ(0, region_map(self->fd, offset, psize, prot)) {
			TH_LOG("prot %d", prot);
		}
	}
}

TEST_F(abi, map_range)
{
	struct { uint64_t offset, size; } bad[] = {
		{ 1, psize }, { psize / 2, psize }, { 0, 1 }, { 0, psize + 1 },
		{ 0, 0 }, { psize, 0 },
		{ 0, 2 * SLOT + psize }, { 2 * SLOT, psize },
		{ 2 * SLOT - psize, 2 * psize }, { 4 * SLOT, psize },
		{ -psize, psize }, { -psize, 2 * psize },
		{ psize, -psize }, { 2 * psize, -psize }, { 0, -psize },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, region_map(self->fd, bad[i].offset,
					      bad[i].size, RW)) {
			TH_LOG("map %#lx+%#lx", (long)bad[i].offset,
			       (long)bad[i].size);
		}
		EXPECT_EQ(-EINVAL, region_unmap(self->fd, bad[i].offset,
						bad[i].size)) {
			TH_LOG("unmap %#lx+%#lx", (long)bad[i].offset,
			       (long)bad[i].size);
		}
		EXPECT_EQ(-EINVAL, region_protect(self->fd, bad[i].offset,
						  bad[i].size, RW)) {
			TH_LOG("protect %#lx+%#lx", (long)bad[i].offset,
			       (long)bad[i].size);
		}
		EXPECT_EQ(-EINVAL, region_advise(self->fd, bad[i].offset,
						 bad[i].size, MADV_NORMAL)) {
			TH_LOG("advise %#lx+%#lx", (long)bad[i].offset,
			       (long)bad[i].size);
		}
	}
	EXPECT_EQ(0, region_info(self->fd).mapped);
	/* The edges, and across slots. */
	EXPECT_EQ(0, region_map(self->fd, 0, psize, RW));
	EXPECT_EQ(0, region_map(self->fd, 2 * SLOT - psize, psize, RW));
	EXPECT_EQ(0, region_map(self->fd, SLOT - psize, 2 * psize, RW));
	EXPECT_EQ(4 * psize, region_info(self->fd).mapped);
	EXPECT_EQ(0, region_unmap(self->fd, 0, 2 * SLOT));
	EXPECT_EQ(0, region_info(self->fd).mapped);
}

TEST_F(abi, no_window)
{
	int file = memfd_create("file", MFD_CLOEXEC);

	EXPECT_EQ(-ENODATA, region_map(self->none, 0, psize, RW));
	EXPECT_EQ(-ENODATA, region_map_file(self->none, 0, psize, RW, file, 0));
	EXPECT_EQ(-ENODATA, region_unmap(self->none, 0, psize));
	EXPECT_EQ(-ENODATA, region_protect(self->none, 0, psize, RW));
	EXPECT_EQ(-ENODATA, region_advise(self->none, 0, psize, MADV_NORMAL));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, SLOT, RW, MAP_SHARED, self->none, 0));
	EXPECT_EQ(ENODATA, errno);
	EXPECT_EQ(0, region_info(self->none).window);
	EXPECT_EQ(0, region_list(self->none, 0, NULL, 0, NULL));
}

TEST_F(abi, map_occupied)
{
	uint64_t generation;

	ASSERT_EQ(0, region_map(self->fd, 4 * psize, 4 * psize, RW));
	generation = region_info(self->fd).generation;
	EXPECT_EQ(-EEXIST, region_map(self->fd, 4 * psize, 4 * psize, RW));
	EXPECT_EQ(-EEXIST, region_map(self->fd, 0, 5 * psize, RW));
	EXPECT_EQ(-EEXIST, region_map(self->fd, 7 * psize, 2 * psize, RW));
	EXPECT_EQ(-EEXIST, region_map(self->fd, 5 * psize, psize, RW));
	EXPECT_EQ(-EEXIST, region_map(self->fd, 0, 2 * SLOT, RW));
	EXPECT_EQ(generation, region_info(self->fd).generation);
	EXPECT_EQ(4 * psize, region_info(self->fd).mapped);
	EXPECT_EQ(0, region_map(self->fd, 0, 4 * psize, RW));
	EXPECT_EQ(0, region_map(self->fd, 8 * psize, psize, RW));
}

TEST_F(abi, map_fd)
{
	int pipes[2], path, dir, ro, wo, file;

	file = memfd_create("file", MFD_CLOEXEC);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, 4 * psize));
	ro = reopen(file, O_RDONLY);
	wo = reopen(file, O_WRONLY);
	path = reopen(file, O_PATH);
	dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));

	/* Memory has no file; a file has one. */
	EXPECT_EQ(-EINVAL, region_map_flags(self->fd, 0, psize, RW, MEMORY,
					    file, 0));
	EXPECT_EQ(-EINVAL, region_map_flags(self->fd, 0, psize, RW, MEMORY,
					    0, 0));
	EXPECT_EQ(-EBADF, region_map_file(self->fd, 0, psize, RW, -1, 0));
	EXPECT_EQ(-EBADF, region_map_file(self->fd, 0, psize, RW, 9999, 0));
	EXPECT_EQ(-EBADF, region_map_file(self->fd, 0, psize, RW, path, 0));
	EXPECT_GT(0, region_map_file(self->fd, 0, psize, RW, pipes[0], 0));
	EXPECT_GT(0, region_map_file(self->fd, 0, psize, PROT_READ, dir, 0));
	/* Offsets: multiples of the page size, and not round the end. */
	EXPECT_EQ(-EINVAL, region_map_file(self->fd, 0, psize, RW, file, 1));
	EXPECT_GT(0, region_map_file(self->fd, 0, 2 * psize, RW, file, -psize));
	EXPECT_EQ(0, region_info(self->fd).mapped);
	/* With memory it is not looked at. */
	EXPECT_EQ(0, region_map_flags(self->fd, 0, psize, RW, MEMORY, -1, 1));
	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));

	EXPECT_EQ(-EACCES, region_map_file(self->fd, 0, psize, PROT_READ, wo, 0));
	EXPECT_EQ(-EACCES, region_map_file(self->fd, 0, psize, PROT_WRITE, wo, 0));
	EXPECT_EQ(-EACCES, region_map_file(self->fd, 0, psize, RW, ro, 0));
	EXPECT_EQ(0, region_map_file(self->fd, 0, psize, PROT_READ, ro, 0));
	/* What was mapped read-only for want of a right stays so. */
	EXPECT_EQ(-EACCES, region_protect(self->fd, 0, psize, RW));
	EXPECT_EQ(0, region_protect(self->fd, 0, psize, PROT_NONE));
	EXPECT_EQ(0, region_protect(self->fd, 0, psize, PROT_READ));
	/* Beyond the end of the file: that is for the one who touches it. */
	EXPECT_EQ(0, region_map_file(self->fd, 8 * psize, 8 * psize, RW, file, 0));
	/* The file outlives its descriptor. */
	EXPECT_EQ(0, close(file));
	EXPECT_EQ(0, region_protect(self->fd, 8 * psize, 8 * psize, PROT_READ));
}

TEST_F(abi, map_sealed)
{
	int file = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ASSERT_EQ(0, ftruncate(file, psize));
	/* A writable mapping is in the way of the seal, as any other is. */
	ASSERT_EQ(0, region_map_file(self->fd, 0, psize, RW, file, 0));
	EXPECT_EQ(-1, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EBUSY, errno);
	ASSERT_EQ(0, region_unmap(self->fd, 0, psize));
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(-EPERM, region_map_file(self->fd, 0, psize, RW, file, 0));
	EXPECT_EQ(0, region_map_file(self->fd, 0, psize, PROT_READ, file, 0));
	EXPECT_EQ(-EACCES, region_protect(self->fd, 0, psize, RW));
}

TEST_F(abi, map_future_sealed)
{
	int file = memfd_create("file", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	ASSERT_EQ(0, ftruncate(file, psize));
	ASSERT_EQ(0, fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	EXPECT_EQ(-EPERM, region_map_file(self->fd, 0, psize, RW, file, 0));
	EXPECT_EQ(0, region_map_file(self->fd, 0, psize, PROT_READ, file, 0));
	EXPECT_EQ(-EACCES, region_protect(self->fd, 0, psize, RW));
}

TEST_F(abi, map_append_only)
{
	int file, ro, flags = 0x20 /* FS_APPEND_FL */, error;

	error = env_ext4(&self->env, 16 * MIB);
	if (error == -ENOPKG)
		SKIP_REST(return, "no mke2fs");
	ASSERT_EQ(0, error);
	file = open(self->env.disk, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, psize));
	ASSERT_EQ(0, region_map_file(self->fd, 0, psize, RW, file, 0));
	ASSERT_EQ(0, region_unmap(self->fd, 0, psize));
	ASSERT_EQ(0, ioctl(file, _IOW('f', 2, long), &flags));
	EXPECT_EQ(-EACCES, region_map_file(self->fd, 0, psize, RW, file, 0));
	/* Could be made writable later: mmap() has it so, too. */
	EXPECT_EQ(-EACCES, region_map_file(self->fd, 0, psize, PROT_READ, file,
					   0));
	ro = reopen(file, O_RDONLY);
	EXPECT_EQ(0, region_map_file(self->fd, 0, psize, PROT_READ, ro, 0));
	flags = 0;
	ASSERT_EQ(0, ioctl(file, _IOW('f', 2, long), &flags));
}

TEST_F(abi, map_noexec)
{
	char dir[] = "/tmp/mshare.XXXXXX", path[64];
	int file, fd;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("none", dir, "tmpfs", MS_NOEXEC, NULL));
	snprintf(path, sizeof(path), "%s/file", dir);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, psize));
	EXPECT_EQ(-EPERM, region_map_file(self->fd, 0, psize, RWX, file, 0));
	EXPECT_EQ(0, region_map_file(self->fd, 0, psize, RW, file, 0));
	EXPECT_EQ(-EACCES, region_protect(self->fd, 0, psize, RWX));
	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));
	close(file);
	EXPECT_EQ(0, umount(dir));

	/* And if the region itself is on a mount that is for data only. */
	ASSERT_EQ(0, mount("none", dir, "msharefs", MS_NOEXEC, NULL));
	fd = region_new(dir, "region", SLOT);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EPERM, region_map(fd, 0, psize, RWX));
	EXPECT_EQ(0, region_map(fd, 0, psize, RW));
	EXPECT_GT(0, region_protect(fd, 0, psize, RWX));
	EXPECT_EQ(MAP_FAILED, region_attach(fd, NULL, RWX));
	EXPECT_EQ(EPERM, errno);
	close(fd);
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
}

/* What has page tables, or pages, of its own kind. */
TEST_F(abi, map_kinds)
{
	static const char * const devices[] = {
		"/dev/zero", "/dev/null", "/dev/mem", "/dev/kvm", "/dev/fuse",
		"/dev/urandom", "/dev/loop0",
	};
	char dir[] = "/tmp/mshare.XXXXXX", path[128], options[256];
	int fd;

	fd = reopen(self->fd, O_RDWR);
	EXPECT_EQ(-EINVAL, region_map_file(self->fd, 0, SLOT, RW, fd, 0));
	EXPECT_EQ(-EINVAL, region_map_file(self->fd, 0, SLOT, RW, self->fd, 0));
	fd = region_new(self->env.dir, "other", SLOT);
	EXPECT_EQ(-EINVAL, region_map_file(self->fd, 0, SLOT, RW, fd, 0));
	snprintf(path, sizeof(path), "%s/" MSHAREFS_INFO_NAME, self->env.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_GT(0, region_map_file(self->fd, 0, psize, PROT_READ, fd, 0));

	fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (fd >= 0) {
		EXPECT_EQ(-EOPNOTSUPP,
			  region_map_file(self->fd, 0, 2 * MIB, RW, fd, 0));
	} else {
		note("no hugetlbfs: not tried");
	}
	fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-EOPNOTSUPP, region_map_file(self->fd, 0, psize, PROT_READ,
					       fd, 0));
	fd = open("/sys/kernel/mm/transparent_hugepage/enabled",
		  O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		EXPECT_EQ(-EOPNOTSUPP, region_map_file(self->fd, 0, psize,
						       PROT_READ, fd, 0));
	}
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++) {
		fd = open(devices[i], O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		EXPECT_EQ(-EOPNOTSUPP, region_map_file(self->fd, 0, psize,
						       PROT_READ, fd, 0)) {
			TH_LOG("%s", devices[i]);
		}
		close(fd);
	}
	fd = syscall(__NR_memfd_secret, O_CLOEXEC);
	if (fd >= 0) {
		ASSERT_EQ(0, ftruncate(fd, psize));
		EXPECT_EQ(-EOPNOTSUPP,
			  region_map_file(self->fd, 0, psize, RW, fd, 0));
	} else {
		note("no memfd_secret: not tried");
	}

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("none", dir, "tmpfs", 0, NULL));
	snprintf(options, sizeof(options),
		 "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir,
		 dir);
	for (const char *name = "lower\0upper\0work\0merged\0"; *name;
	     name += strlen(name) + 1) {
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		ASSERT_EQ(0, mkdir(path, 0755));
	}
	snprintf(path, sizeof(path), "%s/merged", dir);
	if (!mount("overlay", path, "overlay", 0, options)) {
		strcat(path, "/file");
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(fd, psize));
		EXPECT_EQ(-EOPNOTSUPP,
			  region_map_file(self->fd, 0, psize, RW, fd, 0));
		close(fd);
		snprintf(path, sizeof(path), "%s/merged", dir);
		EXPECT_EQ(0, umount(path));
	} else {
		note("no overlayfs: not tried");
	}
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
	EXPECT_EQ(0, region_info(self->fd).mapped);
}

/* What the caller has mapped, and what of that a region can have. */
TEST_F(abi, map_mapped)
{
	size_t size = 4 * psize;
	char *memory = mmap(NULL, size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *private = mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *attached = region_attach(self->fd, NULL, RW);
	int file = memfd_create("file", MFD_CLOEXEC);
	char *map;

	ASSERT_NE(MAP_FAILED, memory);
	ASSERT_NE(MAP_FAILED, private);
	ASSERT_NE(MAP_FAILED, attached);
#define MAPPED(error, offset, size, prot, flags, addr) \
	EXPECT_EQ(error, region_map_mapped(self->fd, offset, size, prot, flags, \
					   addr))
	MAPPED(-EINVAL, 0, size, RW, MAP_SHARED, memory);
	MAPPED(-EINVAL, 0, size, RW, MAP_FIXED, memory);
	MAPPED(-EINVAL, 0, size, RW, MEMORY, memory);
	MAPPED(-EINVAL, 0, size, RW, SHARED | MAP_NORESERVE, memory);
	MAPPED(-EOPNOTSUPP, 0, size, RW, SHARED | MAP_HUGETLB, memory);
	MAPPED(-EINVAL, 0, size, 8, SHARED, memory);
	MAPPED(-EINVAL, 0, 0, RW, SHARED, memory);
	MAPPED(-EINVAL, 0, size - 1, RW, SHARED, memory);
	MAPPED(-EINVAL, 1, size, RW, SHARED, memory);
	MAPPED(-EINVAL, 2 * SLOT - psize, size, RW, SHARED, memory);
	MAPPED(-EINVAL, 0, size, RW, SHARED, memory + 1);
	MAPPED(-ENOMEM, 0, size, RW, SHARED, NULL);
	MAPPED(-ENOMEM, 0, size, RW, SHARED, (void *)-psize);
	MAPPED(-ENOMEM, 0, size + psize, RW, SHARED, memory);
	MAPPED(-ENOMEM, 0, size, RW, SHARED, memory + psize);
	MAPPED(-EOPNOTSUPP, 0, size, RW, SHARED, private);
	/* A region is not in a region. */
	MAPPED(-EINVAL, 0, size, RW, SHARED, attached);
	EXPECT_EQ(-EACCES, region_map_mapped(self->ro, 0, size, RW, SHARED,
					     memory));
	EXPECT_EQ(-ENODATA, region_map_mapped(self->none, 0, size, RW, SHARED,
					      memory));
	EXPECT_EQ(0, region_info(self->fd).mapped);

	MAPPED(0, 0, size, RW, SHARED, memory);
	MAPPED(-EEXIST, psize, psize, RW, SHARED, memory);
	/* A part, elsewhere, filled. */
	fill_pages(memory, size, 1);
	MAPPED(0, SLOT, psize, PROT_READ, SHARED | MAP_POPULATE,
	       memory + 2 * psize);
	EXPECT_EQ(0, check_pages(attached, size, 1));
	EXPECT_EQ(peek(memory + 2 * psize), peek(attached + SLOT));
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)attached + SLOT, 1, 0));
	fill_pages(attached, size, 2);
	EXPECT_EQ(0, check_pages(memory, size, 2));
	/* Each is there without the other. */
	ASSERT_EQ(0, munmap(memory, size));
	EXPECT_EQ(0, check_pages(attached, size, 2));
	ASSERT_EQ(0, region_unmap(self->fd, 0, 2 * SLOT));

	/* No more than the mapping's own rights: of what is open for all of it, */
	ASSERT_EQ(0, ftruncate(file, size));
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, map);
	MAPPED(0, 0, size, RW, SHARED, map);
	ASSERT_EQ(0, region_unmap(self->fd, 0, size));
	/* or just for reading, and closed again. */
	ASSERT_EQ(0, munmap(map, size));
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, reopen(file, O_RDONLY), 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, close(file));
	MAPPED(-EACCES, 0, size, RW, SHARED, map);
	MAPPED(0, 0, size, PROT_READ, SHARED, map);
	EXPECT_EQ(-EACCES, region_protect(self->fd, 0, size, RW));
#undef MAPPED
}

/* A System V segment: the memory, not one more who has it mapped. */
TEST_F(abi, map_segment)
{
	size_t size = 4 * psize;
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	char *attached = region_attach(self->fd, NULL, RW), *map, *other;
	struct shmid_ds ds;
	int large;

	ASSERT_LE(0, id);
	ASSERT_NE(MAP_FAILED, attached);
	map = shmat(id, NULL, SHM_RDONLY);
	EXPECT_EQ(-EACCES, region_map_mapped(self->fd, 0, size, RW, SHARED,
					     map));
	EXPECT_EQ(0, region_map_mapped(self->fd, 0, size, PROT_READ, SHARED,
				       map));
	EXPECT_EQ(-EACCES, region_protect(self->fd, 0, size, RW));
	ASSERT_EQ(0, region_unmap(self->fd, 0, size));
	ASSERT_EQ(0, shmdt(map));

	map = shmat(id, NULL, 0);
	ASSERT_EQ(0, region_map_mapped(self->fd, 0, size, RW, SHARED, map));
	ASSERT_EQ(0, shmctl(id, IPC_STAT, &ds));
	EXPECT_EQ(1, ds.shm_nattch);
	fill_pages(map, size, 1);
	EXPECT_EQ(0, check_pages(attached, size, 1));
	fill_pages(attached, size, 2);
	EXPECT_EQ(0, check_pages(map, size, 2));
	/* One that a file could only be if it was opened as a large one. */
	large = shmget(IPC_PRIVATE, 3UL << 30, IPC_CREAT | SHM_NORESERVE | 0600);
	ASSERT_LE(0, large);
	other = shmat(large, NULL, 0);
	ASSERT_EQ(0, shmctl(large, IPC_RMID, NULL));
	ASSERT_NE((void *)-1, other);
	EXPECT_EQ(0, region_map_mapped(self->fd, SLOT, size, RW, SHARED,
				       other + (3UL << 30) - size));
	poke(attached + SLOT, 5);
	EXPECT_EQ(5, peek(other + (3UL << 30) - size));
	ASSERT_EQ(0, shmdt(other));

	/* It goes when the last one has gone who has it mapped; the memory stays. */
	ASSERT_EQ(0, shmctl(id, IPC_RMID, NULL));
	ASSERT_EQ(0, shmdt(map));
	EXPECT_EQ(-1, shmctl(id, IPC_STAT, &ds));
	EXPECT_EQ(0, check_pages(attached, size, 2));
}

TEST_F(abi, read_only_descriptor)
{
	int wo, file = memfd_create("file", MFD_CLOEXEC), fd;
	uint64_t generation;

	ASSERT_EQ(0, region_map(self->fd, 0, psize, RW));
	generation = region_info(self->fd).generation;
	EXPECT_EQ(-EACCES, region_map(self->ro, psize, psize, RW));
	EXPECT_EQ(-EACCES, region_map_file(self->ro, psize, psize, RW, file, 0));
	EXPECT_EQ(-EACCES, region_unmap(self->ro, 0, psize));
	EXPECT_EQ(-EACCES, region_protect(self->ro, 0, psize, PROT_NONE));
	EXPECT_EQ(-EACCES, region_advise(self->ro, 0, psize, MADV_REMOVE));
	EXPECT_EQ(-EACCES, region_advise(self->ro, 0, psize, MADV_NORMAL));
	EXPECT_EQ(-EACCES, region_set_base(self->ro, 0x600000000000));
	EXPECT_EQ(generation, region_info(self->fd).generation);
	EXPECT_EQ(generation, region_info(self->ro).generation);
	EXPECT_EQ(1, region_list(self->ro, 0, NULL, 0, NULL) >= 0);

	/* Write-only is not read-write. */
	wo = reopen(self->fd, O_WRONLY);
	ASSERT_LE(0, wo);
	EXPECT_EQ(-EACCES, region_unmap(wo, 0, psize));
	EXPECT_EQ(-EACCES, region_map(wo, psize, psize, RW));

	/* The window, too, is the writers'. */
	fd = reopen(self->none, O_RDONLY);
	EXPECT_EQ(-EACCES, region_reserve(fd, SLOT, 0));
	EXPECT_EQ(-1, ftruncate(fd, SLOT));
	EXPECT_TRUE(errno == EINVAL || errno == EBADF);
	EXPECT_EQ(-1, fallocate(fd, 0, 0, SLOT));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(0, region_info(self->none).window);

	/* A path is not an open file. */
	fd = reopen(self->fd, O_PATH);
	EXPECT_EQ(-EBADF, region_unmap(fd, 0, psize));
}

TEST_F(abi, unmap)
{
	uint64_t generation;

	EXPECT_EQ(0, region_unmap(self->fd, 0, 2 * SLOT));
	ASSERT_EQ(0, region_map(self->fd, 0, 8 * psize, RW));
	generation = region_info(self->fd).generation;
	EXPECT_EQ(0, region_unmap(self->fd, 2 * psize, 2 * psize));
	EXPECT_EQ(6 * psize, region_info(self->fd).mapped);
	EXPECT_LT(generation, region_info(self->fd).generation);
	EXPECT_EQ(0, region_unmap(self->fd, 0, 3 * psize));
	EXPECT_EQ(4 * psize, region_info(self->fd).mapped);
	EXPECT_EQ(0, region_unmap(self->fd, 0, 2 * SLOT));
	EXPECT_EQ(0, region_info(self->fd).mapped);
	EXPECT_EQ(0, region_info(self->fd).mappings);
}

TEST_F(abi, protect)
{
	struct mshare_protect arg = { .size = psize, .prot = RW, .flags = 1 };
	uint64_t generation;
	int memfd;

	EXPECT_EQ(-ENOMEM, region_protect(self->fd, 0, psize, RW));
	ASSERT_EQ(0, region_map(self->fd, psize, 2 * psize, RW));
	ASSERT_EQ(0, region_map(self->fd, 4 * psize, 2 * psize, RW));
	generation = region_info(self->fd).generation;
	EXPECT_EQ(-ENOMEM, region_protect(self->fd, 0, 2 * psize, PROT_READ));
	EXPECT_EQ(-ENOMEM, region_protect(self->fd, 2 * psize, 3 * psize,
					  PROT_READ));
	EXPECT_EQ(-ENOMEM, region_protect(self->fd, 5 * psize, 2 * psize,
					  PROT_READ));
	/* All or nothing: the part that is mapped is as it was. */
	EXPECT_EQ(2, region_info(self->fd).mappings);
	EXPECT_EQ(generation, region_info(self->fd).generation);
	EXPECT_EQ(-EINVAL, region_protect(self->fd, psize, psize, 0x80));
	EXPECT_EQ(-EINVAL, region_protect(self->fd, psize, psize,
					  PROT_GROWSDOWN));
	arg.region_offset = psize;
	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_PROTECT, &arg));
	EXPECT_EQ(EINVAL, errno);
	for (int prot = 0; prot <= RWX; prot++) {
		EXPECT_EQ(0, region_protect(self->fd, psize, psize, prot)) {
			TH_LOG("prot %d", prot);
		}
	}
	EXPECT_LT(generation, region_info(self->fd).generation);
	/* Parts of two mappings that adjoin. */
	ASSERT_EQ(0, region_map(self->fd, 3 * psize, psize, PROT_READ));
	EXPECT_EQ(0, region_protect(self->fd, 2 * psize, 3 * psize, PROT_NONE));
	EXPECT_EQ(5 * psize, region_info(self->fd).mapped);

	/* A file that is not open for writing, and a hole, which goes before. */
	memfd = memfd_create("protect", MFD_CLOEXEC);
	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, ftruncate(memfd, psize));
	ASSERT_EQ(0, region_map_file(self->fd, 8 * psize, psize, PROT_READ,
				     reopen(memfd, O_RDONLY), 0));
	EXPECT_EQ(-EACCES, region_protect(self->fd, 8 * psize, psize, RW));
	EXPECT_EQ(-ENOMEM, region_protect(self->fd, 8 * psize, 2 * psize, RW));
	EXPECT_EQ(-ENOMEM, region_protect(self->fd, 7 * psize, 2 * psize, RW));
}

TEST_F(abi, advise)
{
	static const int good[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED,
		MADV_DONTNEED, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE,
	};
	/* In kernels without huge pages there is nothing to advise. */
	static const int maybe[] = { MADV_HUGEPAGE, MADV_NOHUGEPAGE };
	struct mshare_advise arg = { .size = psize, .flags = 1 };

	ASSERT_EQ(0, region_map(self->fd, 0, 4 * psize, RW));
	for (int advice = 0; advice < 128; advice++) {
		bool is_good = false, is_maybe = false;
		int error;

		for (size_t i = 0; i < ARRAY_SIZE(good); i++)
			is_good |= advice == good[i];
		for (size_t i = 0; i < ARRAY_SIZE(maybe); i++)
			is_maybe |= advice == maybe[i];
		error = region_advise(self->fd, 0, 4 * psize, advice);
		EXPECT_TRUE(error == (is_good ? 0 : -EINVAL) ||
			    (is_maybe && !error)) {
			TH_LOG("advice %d: %d", advice, error);
		}
		if (!is_good)
			continue;
		EXPECT_EQ(-ENOMEM, region_advise(self->fd, 3 * psize, 2 * psize,
						 advice)) {
			TH_LOG("advice %d over a hole", advice);
		}
	}
	EXPECT_EQ(-EINVAL, region_advise(self->fd, 0, psize, -1));
	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_ADVISE, &arg));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(abi, attach)
{
	char *place, *map;

	/* Room of which we know that it is free. */
	place = mmap(NULL, 4 * SLOT, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, place);
	ASSERT_EQ(0, munmap(place, 4 * SLOT));
	place = (char *)(((uintptr_t)place + SLOT - 1) & -SLOT);

#define REFUSED(error, addr, size, prot, flags, fd, offset) do { \
	void *__map = mmap(addr, size, prot, flags, fd, offset); \
	\
	EXPECT_EQ(MAP_FAILED, __map); \
	EXPECT_EQ(error, __map == MAP_FAILED ? errno : 0); \
	if (__map != MAP_FAILED) \
		munmap(__map, size); \
} while (0)

	REFUSED(EINVAL, NULL, 2 * SLOT, RW, MAP_PRIVATE | MAP_NORESERVE,
		self->fd, 0);
	REFUSED(EINVAL, NULL, SLOT, RW, MAP_SHARED, self->fd, 0);
	REFUSED(EINVAL, NULL, SLOT, RW, MAP_SHARED, self->fd, SLOT);
	REFUSED(EINVAL, NULL, 3 * SLOT, RW, MAP_SHARED, self->fd, 0);
	REFUSED(EINVAL, NULL, psize, RW, MAP_SHARED, self->fd, 0);
	REFUSED(EINVAL, NULL, 2 * SLOT - psize, RW, MAP_SHARED, self->fd, 0);
	REFUSED(EINVAL, NULL, 2 * SLOT, RW, MAP_SHARED, self->fd, psize);
	REFUSED(EINVAL, place + psize, 2 * SLOT, RW, MAP_SHARED | MAP_FIXED,
		self->fd, 0);
	REFUSED(EINVAL, place + SLOT / 2, 2 * SLOT, RW,
		MAP_SHARED | MAP_FIXED_NOREPLACE, self->fd, 0);
	/* Readable once it is linked, whatever it was asked to be. */
	REFUSED(EACCES, NULL, 2 * SLOT, PROT_NONE, MAP_SHARED, self->fd, 0);
	REFUSED(EACCES, NULL, 2 * SLOT, PROT_WRITE, MAP_SHARED, self->fd, 0);
	REFUSED(EACCES, NULL, 2 * SLOT, RW, MAP_SHARED, self->ro, 0);
	REFUSED(EACCES, NULL, 2 * SLOT, PROT_READ, MAP_SHARED,
		reopen(self->fd, O_WRONLY), 0);
	EXPECT_EQ(0, region_info(self->fd).attachments);

	map = mmap(NULL, 2 * SLOT, RW, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, (uintptr_t)map % SLOT);
	EXPECT_EQ(1, region_info(self->fd).attachments);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	EXPECT_EQ(0, region_info(self->fd).attachments);
	map = mmap(place, 2 * SLOT, RW, MAP_SHARED | MAP_FIXED_NOREPLACE,
		   self->fd, 0);
	EXPECT_EQ(place, map);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	/* A hint that is no multiple of the alignment is a hint. */
	map = mmap(place + psize, 2 * SLOT, RW, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, (uintptr_t)map % SLOT);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	map = mmap(NULL, 2 * SLOT, PROT_READ, MAP_SHARED, self->ro, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	map = mmap(NULL, 2 * SLOT, RW, MAP_SHARED_VALIDATE, self->fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	map = mmap(NULL, 2 * SLOT, RW, MAP_SHARED | MAP_LOCKED | MAP_POPULATE,
		   self->fd, 0);
	EXPECT_NE(MAP_FAILED, map);
}

TEST_F(abi, info)
{
	struct mshare_region_info info;
	char *map;

	ASSERT_EQ(0, region_map(self->fd, 0, 16 * psize, RW));
	ASSERT_EQ(0, region_map(self->fd, SLOT, 4 * psize, PROT_READ));
	info = region_info(self->fd);
	EXPECT_EQ(2 * SLOT, info.window);
	EXPECT_EQ(0, info.base);
	EXPECT_EQ(20 * psize, info.mapped);
	EXPECT_EQ(0, info.resident);
	EXPECT_EQ(2, info.generation);
	EXPECT_EQ(2, info.mappings);
	EXPECT_EQ(0, info.attachments);
	EXPECT_EQ(0, info.links);
	EXPECT_EQ(0, info.flushes);
	EXPECT_EQ(0, info.batched);
	for (size_t i = 0; i < ARRAY_SIZE(info.reserved); i++)
		EXPECT_EQ(0, info.reserved[i]);

	map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(1, region_info(self->fd).attachments);
	EXPECT_EQ(0, region_info(self->fd).links);
	fill_pages(map, 3 * psize, 1);
	info = region_info(self->fd);
	EXPECT_EQ(1, info.links);
	EXPECT_EQ(3 * psize, info.resident);
	/* At least a PMD and a PTE page, and not more than all of them. */
	EXPECT_LE(2 * psize, info.page_table_bytes);
	EXPECT_GE(16 * psize, info.page_table_bytes);
	/* Reading allocates too: shared memory has no page of zeroes. */
	peek(map + SLOT);
	info = region_info(self->fd);
	EXPECT_EQ(2, info.links);
	EXPECT_EQ(4 * psize, info.resident);
	EXPECT_EQ(2, info.generation);
	ASSERT_EQ(0, region_unmap(self->fd, 0, psize));
	info = region_info(self->fd);
	EXPECT_EQ(3, info.generation);
	EXPECT_LE(1, info.flushes);
	EXPECT_EQ(3 * psize, info.resident);
	EXPECT_EQ(0, munmap(map, 2 * SLOT));
	info = region_info(self->fd);
	EXPECT_EQ(0, info.attachments);
	EXPECT_EQ(0, info.links);
	EXPECT_EQ(3 * psize, info.resident);

	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_GET_INFO, NULL));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(abi, list)
{
	struct mshare_mapping_entry e[16] = {};
	struct mshare_list_mappings arg = { .flags = 1 };
	uint64_t generation = 0;
	int file = memfd_create("file", MFD_CLOEXEC);

	ASSERT_EQ(0, ftruncate(file, 8 * psize));
	EXPECT_EQ(0, region_list(self->fd, 0, e, 16, &generation));
	EXPECT_EQ(0, generation);
	ASSERT_EQ(0, region_map(self->fd, 8 * psize, 2 * psize, RW));
	ASSERT_EQ(0, region_map_flags(self->fd, 0, psize, PROT_READ,
				      MEMORY | MAP_NORESERVE, -1, 0));
	ASSERT_EQ(0, region_map_file(self->fd, SLOT, 8 * psize, RW, file, 0));
	ASSERT_EQ(0, region_protect(self->fd, SLOT + 2 * psize, psize,
				    PROT_NONE));
	ASSERT_EQ(5, region_list(self->fd, 0, e, 16, &generation));
	EXPECT_EQ(region_info(self->fd).generation, generation);
	EXPECT_EQ(5, region_info(self->fd).mappings);
	EXPECT_EQ(0, e[0].region_offset);
	EXPECT_EQ(psize, e[0].size);
	EXPECT_EQ(PROT_READ, e[0].prot);
	EXPECT_EQ(MAP_ANONYMOUS | MAP_NORESERVE, e[0].flags);
	EXPECT_EQ(8 * psize, e[1].region_offset);
	EXPECT_EQ(2 * psize, e[1].size);
	EXPECT_EQ(RW, e[1].prot);
	EXPECT_EQ(MAP_ANONYMOUS, e[1].flags);
	EXPECT_EQ(SLOT, e[2].region_offset);
	EXPECT_EQ(2 * psize, e[2].size);
	EXPECT_EQ(RW, e[2].prot);
	EXPECT_EQ(0, e[2].flags & MAP_ANONYMOUS);
	EXPECT_EQ(SLOT + 2 * psize, e[3].region_offset);
	EXPECT_EQ(PROT_NONE, e[3].prot);
	EXPECT_EQ(SLOT + 3 * psize, e[4].region_offset);
	EXPECT_EQ(5 * psize, e[4].size);

	/* By pieces; start is the end of what one knows. */
	ASSERT_EQ(2, region_list(self->fd, 0, e, 2, NULL));
	ASSERT_EQ(3, region_list(self->fd, e[1].region_offset + e[1].size, e, 16,
				 NULL));
	EXPECT_EQ(SLOT, e[0].region_offset);
	ASSERT_EQ(5, region_list(self->fd, psize - 1, e, 16, NULL));
	ASSERT_EQ(4, region_list(self->fd, psize, e, 16, NULL));
	EXPECT_EQ(8 * psize, e[0].region_offset);
	EXPECT_EQ(0, region_list(self->fd, 2 * SLOT, e, 16, NULL));
	EXPECT_EQ(0, region_list(self->fd, -1UL, e, 16, NULL));
	EXPECT_EQ(0, region_list(self->fd, 0, e, 0, NULL));
	/* Room is not memory that is there: only what is written counts. */
	ASSERT_EQ(5, region_list(self->fd, 0, e, UINT32_MAX, NULL));

	EXPECT_EQ(-EFAULT, region_list(self->fd, 0, (void *)16, 16, NULL));
	EXPECT_EQ(-1, ioctl(self->fd, MSHAREFS_LIST_MAPPINGS, &arg));
	EXPECT_EQ(EINVAL, errno);
}

struct lister {
	int fd;
	void *out;
	long count;
};

static void *list_to(void *arg)
{
	struct lister *l = arg;

	l->count = region_list(l->fd, 0, l->out, 1, NULL);
	return NULL;
}

/* A reader whose buffer lets the kernel wait keeps nobody from changing. */
TEST_F(abi, list_into_a_trap)
{
	struct lister l = { .fd = self->ro };
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage zero = {};
	int uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	struct uffd_msg msg;
	pthread_t thread;

	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	l.out = mmap(NULL, psize, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, l.out);
	reg.range.start = zero.range.start = (uintptr_t)l.out;
	reg.range.len = zero.range.len = psize;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
	ASSERT_EQ(0, region_map(self->fd, 0, psize, RW));
	ASSERT_EQ(0, pthread_create(&thread, NULL, list_to, &l));
	ASSERT_EQ(sizeof(msg), read(uffd, &msg, sizeof(msg)));
	ASSERT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);

	EXPECT_EQ(0, region_protect(self->fd, 0, psize, PROT_READ));
	EXPECT_EQ(2, region_info(self->fd).generation);
	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(1, l.count);
	/* As it was when the lock was held. */
	EXPECT_EQ(RW, ((struct mshare_mapping_entry *)l.out)->prot);
	close(uffd);
}

/* Adjoining mappings of the same kind are one run of the window. */
TEST_F(abi, list_many)
{
	static struct mshare_mapping_entry e[4096];
	long n = by_scale(200, 2000), got = 0;
	uint64_t start = 0;

	for (long i = 0; i < n; i++)
		ASSERT_EQ(0, region_map(self->fd, 2 * i * psize, psize, RW));
	EXPECT_EQ(n, region_info(self->fd).mappings);
	EXPECT_EQ(n, region_list(self->fd, 0, e, 4096, NULL));
	/* Room that divides nothing. */
	for (;;) {
		long step = region_list(self->fd, start, e, 7, NULL);

		ASSERT_LE(0, step);
		if (!step)
			break;
		for (long i = 0; i < step; i++) {
			ASSERT_EQ(2 * (got + i) * psize, e[i].region_offset);
			ASSERT_EQ(psize, e[i].size);
		}
		got += step;
		start = e[step - 1].region_offset + e[step - 1].size;
	}
	EXPECT_EQ(n, got);
}

TEST_F(abi, pointers)
{
	static const unsigned int calls[] = {
		MSHAREFS_CREATE_MAPPING, MSHAREFS_UNMAP, MSHAREFS_PROTECT,
		MSHAREFS_ADVISE, MSHAREFS_RESERVE, MSHAREFS_SET_BASE,
		MSHAREFS_GET_BASE, MSHAREFS_GET_INFO, MSHAREFS_LIST_MAPPINGS,
	};
	char *edge;

	/* The last bytes that can be read: structures that end too early. */
	edge = mmap(NULL, 2 * psize, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, edge);
	ASSERT_EQ(0, munmap(edge + psize, psize));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT_EQ(-1, ioctl(self->fd, calls[i], (void *)8));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, ioctl(self->fd, calls[i], edge + psize - 8)) {
			TH_LOG("call %#x", calls[i]);
		}
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(-1, ioctl(self->fd, calls[i], -psize));
		EXPECT_EQ(EFAULT, errno);
	}
	EXPECT_EQ(-1, ioctl(self->fd, _IO('x', 0), edge));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, _IOW('x', 1, struct mshare_create), edge));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, _IO('x', 99), edge));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(-1, ioctl(self->fd, 0x5401 /* TCGETS */, edge));
	EXPECT_EQ(ENOTTY, errno);
	EXPECT_EQ(0, region_info(self->fd).generation);
}

/* These are calls on regions, not on what else is there. */
TEST_F(abi, other_files)
{
	char path[64];
	int dir, info;

	dir = open(self->env.dir, O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(-ENOTTY, region_unmap(dir, 0, psize));
	snprintf(path, sizeof(path), "%s/" MSHAREFS_INFO_NAME, self->env.dir);
	info = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, info);
	EXPECT_EQ(-ENOTTY, region_unmap(info, 0, psize));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, psize, PROT_READ, MAP_SHARED, info, 0));
}

/* The last four bytes of the 64-bit structure are what old callers left there. */
TEST_F(abi, padding_is_not_looked_at)
{
	struct { struct mshare_create c; } arg;

	memset(&arg, 0xa5, sizeof(arg));
	arg.c.region_offset = 0;
	arg.c.size = psize;
	arg.c.offset = 0;
	arg.c.prot = RW;
	arg.c.flags = MEMORY;
	arg.c.fd = -1;
	EXPECT_EQ(0, ioctl(self->fd, MSHAREFS_CREATE_MAPPING, &arg));
	EXPECT_EQ(psize, region_info(self->fd).mapped);
}

/* The number that i386 has for its 36 bytes; no byte more is read. */
#define CREATE_MAPPING_36	_IOC(_IOC_WRITE, 'x', 0, 36)

TEST_F(abi, short_number)
{
	struct mshare_create arg = {
		.size = psize, .prot = RW, .flags = MEMORY, .fd = -1,
	};
	char *edge;

	edge = mmap(NULL, 2 * psize, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, edge);
	ASSERT_EQ(0, munmap(edge + psize, psize));
	memcpy(edge + psize - 36, &arg, 36);
	EXPECT_EQ(0, ioctl(self->fd, CREATE_MAPPING_36, edge + psize - 36));
	EXPECT_EQ(psize, region_info(self->fd).mapped);
}

#ifdef __x86_64__
/*
 * A 32-bit program's system calls, from this 64-bit one: the gate that they
 * come through is open to it, too. Pointers must be below 4 GiB.
 */
static long call32(long number, long a, long b, long c)
{
	long result;

	asm volatile("int $0x80" : "=a" (result)
		     : "a" (number), "b" (a), "c" (b), "d" (c)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

#define IOCTL_32	54
#define MMAP_32		90
#define FTRUNCATE64_32	194
#define GETPID_32	20

struct mmap_32 {
	uint32_t addr, size, prot, flags, fd, offset;
};

static long try_gate(long a, long b, long c)
{
	return call32(GETPID_32, a, b, c) != getpid();
}

TEST_F(abi, callers_of_32_bits)
{
	struct {
		union {
			struct mshare_create create;
			struct mshare_unmap unmap;
			struct mshare_protect protect;
			struct mshare_advise advise;
			struct mshare_reserve reserve;
			struct mshare_base base;
			struct mshare_region_info info;
			struct mshare_list_mappings list;
			struct mmap_32 mmap;
		};
		struct mshare_mapping_entry entries[4];
	} *low;
	int fd = self->fd;
	char *edge, *map;

	if (in_child(try_gate, 0, 0, 0))
		SKIP_REST(return, "no 32-bit system calls (IA32_EMULATION)");
	low = mmap(NULL, 2 * psize, RW,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	ASSERT_NE(MAP_FAILED, low);
	ASSERT_EQ(0, munmap((char *)low + psize, psize));
	edge = (char *)low + psize;

#define CALL32(number) call32(IOCTL_32, fd, number, (uintptr_t)low)

	low->create = (struct mshare_create) {
		.size = 4 * psize, .prot = RW, .flags = MEMORY, .fd = -1,
	};
	EXPECT_EQ(0, CALL32(CREATE_MAPPING_36));
	EXPECT_EQ(-EEXIST, CALL32(CREATE_MAPPING_36));
	/* Beyond 4 GiB if it had that much: not cut off on the way. */
	low->create.region_offset = SLOT;
	EXPECT_EQ(0, CALL32(MSHAREFS_CREATE_MAPPING));
	low->create.region_offset = 1UL << 32;
	EXPECT_EQ(-EINVAL, CALL32(CREATE_MAPPING_36));
	/* 36 bytes, and the next one is not there. */
	low->create.region_offset = 8 * psize;
	memcpy(edge - 36, low, 36);
	EXPECT_EQ(0, call32(IOCTL_32, fd, CREATE_MAPPING_36,
			    (uintptr_t)edge - 36));
	EXPECT_EQ(12 * psize, region_info(fd).mapped);

	low->unmap = (struct mshare_unmap) { 8 * psize, 4 * psize };
	EXPECT_EQ(0, CALL32(MSHAREFS_UNMAP));
	EXPECT_EQ(8 * psize, region_info(fd).mapped);
	low->protect = (struct mshare_protect) { 0, psize, PROT_READ, 0 };
	EXPECT_EQ(0, CALL32(MSHAREFS_PROTECT));
	low->advise = (struct mshare_advise) { psize, psize,
					       MADV_POPULATE_WRITE, 0 };
	EXPECT_EQ(0, CALL32(MSHAREFS_ADVISE));
	low->base = (struct mshare_base) { 0x600000000000, 0, 0 };
	EXPECT_EQ(0, CALL32(MSHAREFS_SET_BASE));
	low->base.base = 0;
	EXPECT_EQ(0, CALL32(MSHAREFS_GET_BASE));
	EXPECT_EQ(0x600000000000, low->base.base);
	EXPECT_EQ(0, CALL32(MSHAREFS_GET_INFO));
	EXPECT_EQ(2 * SLOT, low->info.window);
	EXPECT_EQ(psize, low->info.resident);
	EXPECT_EQ(3, low->info.mappings);
	low->list = (struct mshare_list_mappings) {
		.entries = (uintptr_t)low->entries, .count = 4,
	};
	EXPECT_EQ(0, CALL32(MSHAREFS_LIST_MAPPINGS));
	EXPECT_EQ(3, low->list.count);
	EXPECT_EQ(PROT_READ, low->entries[0].prot);
	EXPECT_EQ(SLOT, low->entries[2].region_offset);

	/* What it did is there for 64-bit ones. */
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(SIG(SIGSEGV), do_write((long)map, 1, 0));
	EXPECT_EQ(0, do_write((long)map + psize, 1, 0));
	EXPECT_EQ(0, do_write((long)map + SLOT, 1, 0));

	fd = self->none;
	low->reserve = (struct mshare_reserve) { 5 * SLOT, 0x600000000000, 0, 0 };
	EXPECT_EQ(0, CALL32(MSHAREFS_RESERVE));
	EXPECT_EQ(5 * SLOT, region_info(fd).window);
	/* In the fifth GiB, where a 32-bit offset does not reach. */
	low->create = (struct mshare_create) {
		.region_offset = 4 * SLOT, .size = psize, .prot = RW,
		.flags = MEMORY, .fd = -1,
	};
	EXPECT_EQ(0, CALL32(CREATE_MAPPING_36));
	low->unmap = (struct mshare_unmap) { 4 * SLOT, psize };
	EXPECT_EQ(psize, region_info(fd).mapped);
	EXPECT_EQ(0, CALL32(MSHAREFS_UNMAP));
	EXPECT_EQ(0, region_info(fd).mapped);

	fd = self->ro;
	EXPECT_EQ(-EACCES, CALL32(MSHAREFS_UNMAP));
	EXPECT_EQ(-ENOTTY, CALL32(_IO('x', 99)));
	/* Any place will do, below 4 GiB. */
	fd = region_new(self->env.dir, NULL, SLOT);
	ASSERT_EQ(0, region_map(fd, 0, psize, RW));
	low->mmap = (struct mmap_32) {
		.size = SLOT, .prot = RW, .flags = MAP_SHARED, .fd = fd,
	};
	map = (char *)(call32(MMAP_32, (uintptr_t)low, 0, 0) & UINT32_MAX);
	EXPECT_EQ(0, (uintptr_t)map % SLOT);
	EXPECT_NE(NULL, map);
	EXPECT_EQ(0, do_write((long)map, 1, 0));
	EXPECT_EQ(1, region_info(fd).attachments);

	fd = region_new(self->env.dir, NULL, 0);
	EXPECT_EQ(0, call32(FTRUNCATE64_32, fd, 0, 2));
	EXPECT_EQ(8 * SLOT, region_info(fd).window);
}
#endif

/* A window is addresses, not memory. */
TEST_F(abi, big_window)
{
	int fd = region_new(self->env.dir, "big", 0);
	struct mshare_region_info info;
	uint64_t window = 16 * 1024 * GIB;
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, window));
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, region_map(fd, window - 4 * psize, 4 * psize, RW));
	ASSERT_EQ(0, region_map(fd, window / 2, 4 * psize, RW));
	fill_pages(map + window - 4 * psize, 4 * psize, 1);
	fill_pages(map + window / 2, 4 * psize, 2);
	EXPECT_EQ(0, check_pages(map + window - 4 * psize, 4 * psize, 1));
	EXPECT_EQ(0, check_pages(map + window / 2, 4 * psize, 2));
	info = region_info(fd);
	EXPECT_EQ(8 * psize, info.resident);
	EXPECT_EQ(2, info.links);
	/* Two paths through the tables, and not a table for each slot. */
	EXPECT_GE(16 * psize, info.page_table_bytes);
	EXPECT_EQ(-EINVAL, region_map(fd, window, psize, RW));
	EXPECT_EQ(0, region_unmap(fd, 0, window));
	EXPECT_EQ(0, region_info(fd).resident);
}

TEST_F(abi, info_file)
{
	char path[64], text[64];

	snprintf(path, sizeof(path), "%s/" MSHAREFS_INFO_NAME, self->env.dir);
	ASSERT_LT(0, read_file(path, text, sizeof(text)));
	EXPECT_EQ(SLOT, strtoul(text, NULL, 10)) {
		TH_LOG("'%s'", text);
	}
}

TEST_HARNESS_MAIN
