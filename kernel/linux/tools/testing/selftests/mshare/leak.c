// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions and attachments are counted by the kernel (CONFIG_MSHARE_DEBUG): when
 * all who had them are gone, whichever way they went, the counts are what they
 * were, and the memory is free.
 */
#include <sys/socket.h>

#include "mshare_test.h"

FIXTURE(leak) {
	struct env env;
	long regions, attachments, shmem, tables;
	size_t size;
};

FIXTURE_SETUP(leak)
{
	self->size = by_scale(2, 16) * MIB;
	/* Those whose parent is killed are to be ours. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	ENV_ENTER(&self->env, NULL);
	debugfs_mount();
	self->regions = debug_count("regions");
	self->attachments = debug_count("attachments");
	if (self->regions < 0) {
		env_leave(&self->env);
		SKIP(return, "the kernel has no CONFIG_MSHARE_DEBUG");
	}
	self->shmem = meminfo("Shmem");
	self->tables = meminfo("PageTables");
}

FIXTURE_TEARDOWN(leak)
{
	ENV_LEAVE(&self->env);
}

/*
 * A process is a zombie before the last of its files is closed, if that is left
 * to a worker: patience, for what must come in the end.
 */
static bool back(struct _test_data_leak *self, long regions)
{
	for (int i = 0; i < 3000; i++) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (debug_count("regions") == self->regions + regions &&
		    debug_count("attachments") == self->attachments &&
		    meminfo("Shmem") <= self->shmem + 64)
			return true;
		usleep(10000);
	}
	ksft_print_msg("regions %ld -> %ld, attachments %ld -> %ld, Shmem %ld -> %lld\n",
		       self->regions, debug_count("regions"), self->attachments,
		       debug_count("attachments"), self->shmem,
		       meminfo("Shmem"));
	return false;
}

static int new_region(struct _test_data_leak *self, const char *name, char **map)
{
	int fd = region_new(self->env.dir, name, SLOT);

	if (fd < 0)
		return fd;
	if (region_map(fd, 0, self->size, RW))
		return -1;
	*map = region_attach(fd, NULL, RW);
	if (*map == MAP_FAILED)
		return -1;
	fill_pages(*map, self->size, 1);
	return fd;
}

TEST_F(leak, counted)
{
	char *map, *second;
	int fd = new_region(self, NULL, &map);

	ASSERT_LE(0, fd);
	EXPECT_EQ(self->regions + 1, debug_count("regions"));
	EXPECT_EQ(self->attachments + 1, debug_count("attachments"));
	EXPECT_LE(self->shmem + (long)(self->size / KIB), meminfo("Shmem"));
	second = region_attach(fd, NULL, PROT_READ);
	ASSERT_NE(MAP_FAILED, second);
	EXPECT_EQ(self->attachments + 2, debug_count("attachments"));
	/* Whichever goes first. */
	ASSERT_EQ(0, munmap(map, SLOT));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(self->regions + 1, debug_count("regions"));
	EXPECT_EQ(0, check_pages(second, self->size, 1));
	ASSERT_EQ(0, munmap(second, SLOT));
	EXPECT_TRUE(back(self, 0));
}

TEST_F(leak, unlinked)
{
	char *map, path[64];
	int fd = new_region(self, "region", &map);

	ASSERT_LE(0, fd);
	snprintf(path, sizeof(path), "%s/region", self->env.dir);
	ASSERT_EQ(0, munmap(map, SLOT));
	ASSERT_EQ(0, close(fd));
	/* A name is enough. */
	EXPECT_EQ(self->regions + 1, debug_count("regions"));
	EXPECT_LE(self->shmem + (long)(self->size / KIB), meminfo("Shmem"));
	ASSERT_EQ(0, unlink(path));
	EXPECT_TRUE(back(self, 0));

	fd = new_region(self, "region", &map);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, unlink(path));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(0, check_pages(map, self->size, 1));
	EXPECT_EQ(self->regions + 1, debug_count("regions"));
	ASSERT_EQ(0, munmap(map, SLOT));
	EXPECT_TRUE(back(self, 0));
}

TEST_F(leak, without_a_window)
{
	for (int i = 0; i < 100; i++) {
		int fd = region_new(self->env.dir, NULL, 0);

		ASSERT_LE(0, fd);
		close(fd);
	}
	EXPECT_TRUE(back(self, 0));
}

static long be_killed(long arg, long named, long unused)
{
	struct _test_data_leak *self = (void *)arg;
	char *map;

	if (new_region(self, named ? "region" : NULL, &map) < 0)
		return 1;
	kill(getpid(), SIGKILL);
	return 2;
}

TEST_F(leak, creator_killed)
{
	char path[64];

	ASSERT_EQ(SIG(SIGKILL), in_child(be_killed, (long)self, 0, 0));
	EXPECT_TRUE(back(self, 0));
	ASSERT_EQ(SIG(SIGKILL), in_child(be_killed, (long)self, 1, 0));
	EXPECT_EQ(self->regions + 1, debug_count("regions"));
	EXPECT_LE(self->shmem + (long)(self->size / KIB), meminfo("Shmem"));
	snprintf(path, sizeof(path), "%s/region", self->env.dir);
	ASSERT_EQ(0, unlink(path));
	EXPECT_TRUE(back(self, 0));
}

TEST_F(leak, last_attacher_killed)
{
	struct peer peers[8];
	char *map;
	int fd = new_region(self, NULL, &map);

	ASSERT_LE(0, fd);
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, peer_start(&peers[i]));
		ASSERT_EQ(0, peer_call(&peers[i], do_check, (long)map,
				       self->size, 1));
	}
	ASSERT_EQ(0, munmap(map, SLOT));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(self->attachments + 8, debug_count("attachments"));
	for (int i = 0; i < 8; i++)
		peer_kill(&peers[i]);
	EXPECT_TRUE(back(self, 0));
}

/* Descriptors on the way between processes that are both gone. */
TEST_F(leak, in_flight)
{
	union {
		char buffer[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = {};
	char byte = 0, *map;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = u.buffer, .msg_controllen = sizeof(u.buffer),
	};
	int pair[2], fd = new_region(self, NULL, &map);
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	ASSERT_EQ(1, sendmsg(pair[0], &msg, 0));
	ASSERT_EQ(0, munmap(map, SLOT));
	ASSERT_EQ(0, close(fd));
	EXPECT_EQ(self->regions + 1, debug_count("regions"));
	ASSERT_EQ(0, close(pair[0]));
	ASSERT_EQ(0, close(pair[1]));
	EXPECT_TRUE(back(self, 0));
}

/* Children of children of children, and all of them killed at once. */
static void multiply(int depth, char *map, size_t size, atomic_long *born)
{
	int children = 0;

	(*born)++;
	do_touch((long)map, size, 0);
	while (depth && children < 3) {
		pid_t pid = fork_mortal();

		if (pid < 0)
			break;
		children++;
		if (!pid) {
			children = 0;
			depth--;
			(*born)++;
			do_touch((long)map, size, 0);
		}
	}
	for (;;)
		pause();
}

TEST_F(leak, fork_bomb)
{
	long rounds = by_scale(2, 10), most = 0;

	for (long i = 0; i < rounds; i++) {
		atomic_long *born = mmap(NULL, psize, RW, MAP_SHARED |
					 MAP_ANONYMOUS, -1, 0);
		/* 3 + 9 + 27 + … */
		int depth = by_scale(2, 4), all = 1, level = 1;
		char *map;
		int fd = new_region(self, NULL, &map);
		pid_t pid;

		ASSERT_LE(0, fd);
		for (int d = 0; d < depth; d++)
			all += level *= 3;
		pid = fork_mortal();
		if (!pid) {
			/* A group of their own, to be told by. */
			setpgid(0, 0);
			multiply(depth, map, self->size / 16, born);
		}
		setpgid(pid, pid);
		ASSERT_EQ(0, munmap(map, SLOT));
		ASSERT_EQ(0, close(fd));
		/* At the height of it, or on the way up. */
		while (*born < (i % 2 ? all / 2 : all))
			usleep(1000);
		if (*born > most)
			most = *born;
		EXPECT_LE(self->attachments + 1, debug_count("attachments"));
		kill(-pid, SIGKILL);
		while (waitpid(-1, NULL, 0) > 0)
			;
		EXPECT_TRUE(back(self, 0));
		munmap(born, psize);
	}
	note("up to %ld processes", most);
}

/* Mappings and tables of every kind in it when it goes. */
TEST_F(leak, full_of_everything)
{
	long tables = meminfo("PageTables");

	for (int i = 0; i < 10; i++) {
		int file = memfd_create("file", MFD_CLOEXEC);
		int fd = region_new(self->env.dir, NULL, 600 * SLOT);
		char *map;

		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(file, 64 * psize));
		map = region_attach(fd, NULL, RW);
		ASSERT_NE(MAP_FAILED, map);
		for (uint64_t slot = 0; slot < 600; slot += 37) {
			uint64_t at = slot * SLOT;

			ASSERT_EQ(0, region_map(fd, at, 8 * psize, RW));
			ASSERT_EQ(0, region_map_file(fd, at + SLOT / 2,
						     64 * psize, RW, file, 0));
			fill_pages(map + at, 8 * psize, 1);
			fill_pages(map + at + SLOT / 2, 64 * psize, 1);
			/* Holes with tables, and protections of all sorts. */
			ASSERT_EQ(0, region_unmap(fd, at, 4 * psize));
			ASSERT_EQ(0, region_protect(fd, at + 5 * psize, psize,
						    PROT_NONE));
			if (slot % 2)
				ASSERT_EQ(0, region_unmap(fd, at, SLOT));
		}
		/* The descriptor first, or the attachment. */
		if (i % 2) {
			ASSERT_EQ(0, close(fd));
			ASSERT_EQ(0, munmap(map, 600 * SLOT));
		} else {
			ASSERT_EQ(0, munmap(map, 600 * SLOT));
			ASSERT_EQ(0, close(fd));
		}
		ASSERT_EQ(0, close(file));
	}
	EXPECT_TRUE(back(self, 0));
	EXPECT_GE(tables + 256, meminfo("PageTables"));
}

/* What failed half-way has left nothing. */
TEST_F(leak, refused)
{
	char *map;
	int fd = new_region(self, NULL, &map), kind;

	ASSERT_LE(0, fd);
	kind = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 200; i++) {
		EXPECT_EQ(-EEXIST, region_map(fd, 0, psize, RW));
		EXPECT_EQ(-EINVAL, region_map(fd, SLOT, psize, RW));
		EXPECT_EQ(-EOPNOTSUPP, region_map_file(fd, SLOT / 2, psize,
						       PROT_READ, kind, 0));
		EXPECT_EQ(-ENOMEM, region_protect(fd, 0, SLOT, PROT_NONE));
		EXPECT_EQ(MAP_FAILED, mmap(NULL, SLOT, PROT_NONE, MAP_SHARED, fd,
					   0));
		EXPECT_EQ(MAP_FAILED, mmap(NULL, psize, RW, MAP_SHARED, fd, 0));
		EXPECT_EQ(-1, munmap(map, psize));
	}
	EXPECT_EQ(1, region_info(fd).attachments);
	EXPECT_EQ(self->size, region_info(fd).mapped);
	ASSERT_EQ(0, close(kind));
	ASSERT_EQ(0, munmap(map, SLOT));
	ASSERT_EQ(0, close(fd));
	EXPECT_TRUE(back(self, 0));
}

TEST_HARNESS_MAIN
