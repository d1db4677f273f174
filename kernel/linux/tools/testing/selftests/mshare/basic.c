// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a region is for: what one process maps, unmaps and protects is so for
 * all that are attached, wherever they are attached; it stays when its creator,
 * its name and its descriptors go, and goes with the last of all. For memory,
 * memfds and files of ext4.
 */
#include "mshare_test.h"

#define PAGES	16

FIXTURE(basic) {
	struct env env;
	int fd;
	int file;	/* -1: memory */
	char *map;
	size_t size;	/* of what is mapped */
	uint64_t base;
};

FIXTURE_VARIANT(basic) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(basic, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(basic, memfd) {
	.kind = MEMFD,
};

FIXTURE_VARIANT_ADD(basic, ext4) {
	.kind = EXT4,
};

FIXTURE_SETUP(basic)
{
	self->size = PAGES * psize;
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", 2 * SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(basic)
{
	ENV_LEAVE(&self->env);
}

#define HERE(offset)	((long)self->map + (long)(offset))

TEST_F(basic, zeroes_then_what_is_written)
{
	for (size_t i = 0; i < self->size; i += psize)
		EXPECT_EQ(0, peek(self->map + i));
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
}

/* All of them do nothing but look, and see each change. */
TEST_F(basic, changes_are_seen_by_all)
{
	/* At the same address, at another one, and one that came after. */
	struct peer same, other, late;
	long there, late_there;

	ASSERT_EQ(0, peer_start(&same));
	ASSERT_EQ(0, peer_start(&other));
	ASSERT_EQ(0, peer_call(&other, do_detach, HERE(0), 2 * SLOT, 0));
	there = peer_call(&other, do_attach, self->fd, HERE(0) - 8 * SLOT, RW);
	ASSERT_EQ(HERE(0) - 8 * SLOT, there);
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(0, peer_call(&same, do_check, HERE(0), self->size, 1));
	EXPECT_EQ(0, peer_call(&other, do_check, there, self->size, 1));
	EXPECT_EQ(0, peer_call(&other, do_write, there + psize, 77, 0));
	EXPECT_EQ(77, peek(self->map + psize));
	EXPECT_EQ(77, peer_call(&same, do_read, HERE(psize), 0, 0));

	/* Protect: less, nothing, more. */
	EXPECT_EQ(0, region_protect(self->fd, psize, psize, PROT_READ));
	EXPECT_EQ(SIG(SIGSEGV), do_write(HERE(psize), 1, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&same, do_write, HERE(psize), 1, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&other, do_write, there + psize, 1, 0));
	EXPECT_EQ(77, peer_call(&other, do_read, there + psize, 0, 0));
	EXPECT_EQ(0, peer_call(&other, do_write, there + 2 * psize, 78, 0));
	EXPECT_EQ(0, region_protect(self->fd, psize, psize, PROT_NONE));
	EXPECT_EQ(SIG(SIGSEGV), do_read(HERE(psize), 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&same, do_read, HERE(psize), 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&other, do_read, there + psize, 0, 0));
	EXPECT_EQ(0, region_protect(self->fd, psize, psize, RW));
	EXPECT_EQ(77, peer_call(&same, do_read, HERE(psize), 0, 0));
	EXPECT_EQ(0, peer_call(&other, do_write, there + psize, 79, 0));
	EXPECT_EQ(79, peek(self->map + psize));

	/* Unmap in the middle; the rest is as it was. */
	EXPECT_EQ(0, region_unmap(self->fd, 4 * psize, 4 * psize));
	for (long i = 3; i <= 8; i++) {
		long sig = i == 3 || i == 8 ? (long)mix(1, i * psize)
					    : SIG(SIGSEGV);

		EXPECT_EQ(sig, do_read(HERE(i * psize), 0, 0));
		EXPECT_EQ(sig, peer_call(&same, do_read, HERE(i * psize), 0, 0));
		EXPECT_EQ(sig, peer_call(&other, do_read, there + i * psize, 0,
					 0));
	}

	/* Something new in the same place. */
	EXPECT_EQ(0, region_map(self->fd, 4 * psize, 4 * psize, RW));
	EXPECT_EQ(0, peer_call(&same, do_read, HERE(5 * psize), 0, 0));
	EXPECT_EQ(0, peer_call(&other, do_write, there + 5 * psize, 80, 0));
	EXPECT_EQ(80, peek(self->map + 5 * psize));

	/* In a slot that nobody had anything in. */
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&same, do_read, HERE(SLOT), 0, 0));
	EXPECT_EQ(0, region_map(self->fd, SLOT, psize, RW));
	EXPECT_EQ(0, peer_call(&same, do_write, HERE(SLOT), 81, 0));
	EXPECT_EQ(81, peer_call(&other, do_read, there + SLOT, 0, 0));

	ASSERT_EQ(0, peer_start(&late));
	ASSERT_EQ(0, peer_call(&late, do_detach, HERE(0), 2 * SLOT, 0));
	late_there = peer_call(&late, do_attach, self->fd, 0, RW);
	ASSERT_EQ(0, late_there % SLOT);
	EXPECT_EQ(81, peer_call(&late, do_read, late_there + SLOT, 0, 0));
	EXPECT_EQ(80, peer_call(&late, do_read, late_there + 5 * psize, 0, 0));
	EXPECT_EQ(4, region_info(self->fd).attachments);
	EXPECT_EQ(0, peer_stop(&same));
	EXPECT_EQ(0, peer_stop(&other));
	EXPECT_EQ(0, peer_stop(&late));
	EXPECT_EQ(1, region_info(self->fd).attachments);
}

static long do_region_map(long fd, long offset, long size)
{
	return region_map(fd, offset, size, RW);
}

static long do_region_unmap(long fd, long offset, long size)
{
	return region_unmap(fd, offset, size);
}

/* Whoever has the descriptor changes, attached or not. */
TEST_F(basic, changed_from_outside)
{
	struct peer outside;

	ASSERT_EQ(0, peer_start(&outside));
	ASSERT_EQ(0, peer_call(&outside, do_detach, HERE(0), 2 * SLOT, 0));
	poke(self->map, 1);
	EXPECT_EQ(0, peer_call(&outside, do_region_unmap, self->fd, 0, psize));
	EXPECT_EQ(SIG(SIGSEGV), do_read(HERE(0), 0, 0));
	EXPECT_EQ(0, peer_call(&outside, do_region_map, self->fd, SLOT, psize));
	EXPECT_EQ(0, do_write(HERE(SLOT), 1, 0));
	EXPECT_EQ(1, region_info(self->fd).attachments);
}

TEST_F(basic, holes)
{
	EXPECT_EQ(SIG(SIGSEGV), do_read(HERE(self->size), 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_write(HERE(self->size), 1, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_read(HERE(SLOT), 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_write(HERE(2 * SLOT - psize), 1, 0));
	/* Nothing came of it. */
	EXPECT_EQ(self->size, region_info(self->fd).mapped);
	EXPECT_EQ(0, do_write(HERE(self->size - psize), 1, 0));
}

TEST_F(basic, protections)
{
	/* ret */
	static const unsigned char code = 0xc3;

	*(unsigned char *)self->map = code;
	for (int prot = 0; prot <= RWX; prot++) {
		uint64_t value;

		ASSERT_EQ(0, region_protect(self->fd, 0, psize, prot));
		/* On x86 what can be written or executed can be read. */
		EXPECT_EQ(prot ? 0 : SIGSEGV, probe_read(self->map, &value)) {
			TH_LOG("prot %d", prot);
		}
		EXPECT_EQ(prot & PROT_WRITE ? 0 : SIGSEGV,
			  probe_write(self->map, code)) {
			TH_LOG("prot %d", prot);
		}
		EXPECT_EQ(prot & PROT_EXEC ? 0 : SIGSEGV,
			  probe_exec(self->map)) {
			TH_LOG("prot %d", prot);
		}
	}
	/* Touched for the first time under each. */
	for (int prot = 0; prot <= RWX; prot++) {
		uint64_t value;

		ASSERT_EQ(0, region_map(self->fd, SLOT, psize, prot));
		EXPECT_EQ(prot & PROT_WRITE ? 0 : SIGSEGV,
			  probe_write(self->map + SLOT, code));
		EXPECT_EQ(prot ? 0 : SIGSEGV,
			  probe_read(self->map + SLOT, &value));
		ASSERT_EQ(0, region_unmap(self->fd, SLOT, psize));
	}
}

/* One page, in and out of existence, many times. */
TEST_F(basic, again_and_again)
{
	long n = by_scale(100, 3000);
	struct peer peer;
	uint64_t generation = region_info(self->fd).generation;

	ASSERT_EQ(0, peer_start(&peer));
	for (long i = 0; i < n; i++) {
		ASSERT_EQ(0, region_map(self->fd, SLOT, psize, RW));
		/* Memory is new each time. */
		ASSERT_EQ(0, peer_call(&peer, do_read, HERE(SLOT), 0, 0));
		poke(self->map + SLOT, i + 1);
		ASSERT_EQ(i + 1, peer_call(&peer, do_read, HERE(SLOT), 0, 0));
		ASSERT_EQ(0, region_unmap(self->fd, SLOT, psize));
		ASSERT_EQ(SIG(SIGSEGV), peer_call(&peer, do_read, HERE(SLOT), 0,
						  0));
		ASSERT_EQ(SIG(SIGSEGV), do_read(HERE(SLOT), 0, 0));
	}
	EXPECT_EQ(generation + 2 * n, region_info(self->fd).generation);
}

TEST_F(basic, remapped_elsewhere)
{
	/* The same file twice in one region, and a part of it. */
	if (self->file == -1)
		return;
	fill_pages(self->map, self->size, 3);
	ASSERT_EQ(0, region_map_file(self->fd, SLOT, self->size, PROT_READ,
				     self->file, 0));
	ASSERT_EQ(0, region_map_file(self->fd, SLOT + 64 * psize, 2 * psize, RW,
				     self->file, 4 * psize));
	EXPECT_EQ(0, check_pages(self->map + SLOT, self->size, 3));
	EXPECT_EQ(mix(3, 5 * psize), peek(self->map + SLOT + 65 * psize));
	poke(self->map + SLOT + 64 * psize, 5);
	EXPECT_EQ(5, peek(self->map + 4 * psize));
	/* What is unmapped here is not gone there. */
	EXPECT_EQ(0, region_unmap(self->fd, 0, self->size));
	EXPECT_EQ(5, peek(self->map + SLOT + 4 * psize));
}

TEST_F(basic, fork)
{
	struct peer child, grandchild;

	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, peer_start(&child));
	/* Inherited, without having been touched there. */
	EXPECT_EQ(2, region_info(self->fd).attachments);
	EXPECT_EQ(0, peer_call(&child, do_check, HERE(0), self->size, 1));
	EXPECT_EQ(0, peer_call(&child, do_write, HERE(0), 2, 0));
	EXPECT_EQ(2, peek(self->map));
	ASSERT_EQ(0, peer_start(&grandchild));
	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&child, do_read, HERE(0), 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&grandchild, do_read, HERE(0), 0, 0));
	/* Detached is detached for one. */
	EXPECT_EQ(0, peer_call(&child, do_detach, HERE(0), 2 * SLOT, 0));
	EXPECT_EQ(mix(1, psize), peer_call(&grandchild, do_read, HERE(psize), 0,
					   0));
	EXPECT_EQ(mix(1, psize), peek(self->map + psize));
}

static long is_mapped_at(long addr, long unused, long unused2)
{
	return is_mapped((void *)addr);
}

static long just_read(long addr, long unused, long unused2)
{
	return peek((void *)addr);
}

TEST_F(basic, dontfork)
{
	EXPECT_EQ(1, in_child(is_mapped_at, HERE(0), 0, 0));
	ASSERT_EQ(0, madvise(self->map, 2 * SLOT, MADV_DONTFORK));
	EXPECT_EQ(0, in_child(is_mapped_at, HERE(0), 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), in_child(just_read, HERE(0), 0, 0));
	ASSERT_EQ(0, madvise(self->map, 2 * SLOT, MADV_DOFORK));
	EXPECT_EQ(1, in_child(is_mapped_at, HERE(0), 0, 0));
}

TEST_F(basic, exec)
{
	int pipes[2], status;
	pid_t pid;
	char byte;

	ASSERT_EQ(0, pipe(pipes));
	pid = fork_mortal();
	if (pid == 0) {
		/* The pipe outlives the exec; the attachment does not. */
		dup2(pipes[0], 0);
		close(pipes[1]);
		execl("/bin/cat", "cat", NULL);
		execlp("cat", "cat", NULL);
		_exit(127);
	}
	close(pipes[0]);
	/* It is in exec, or before: until then there are two. */
	for (int i = 0; i < 60000 && region_info(self->fd).attachments != 1; i++)
		usleep(1000);
	EXPECT_EQ(1, region_info(self->fd).attachments);
	byte = '\n';
	EXPECT_EQ(1, write(pipes[1], &byte, 1));
	close(pipes[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

static long do_vfork_exec(long unused, long unused2, long unused3)
{
	pid_t pid = vfork();
	int status;

	if (pid == 0) {
		execl("/bin/true", "true", NULL);
		_exit(0);
	}
	return waitpid(pid, &status, 0) != pid || status;
}

TEST_F(basic, vfork)
{
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(0, do_vfork_exec(0, 0, 0));
	EXPECT_EQ(1, region_info(self->fd).attachments);
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
}

TEST_F(basic, detach)
{
	void *map;

	poke(self->map, 1);
	EXPECT_EQ(0, munmap(self->map, 2 * SLOT));
	EXPECT_EQ(SIG(SIGSEGV), do_read(HERE(0), 0, 0));
	EXPECT_EQ(0, region_info(self->fd).attachments);
	EXPECT_EQ(0, region_info(self->fd).links);
	/* Something else in its place must not be what was there. */
	map = mmap(self->map, 2 * SLOT, RW, MAP_PRIVATE | MAP_ANONYMOUS |
		   MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ(self->map, map);
	EXPECT_EQ(0, peek(self->map));
	fill_pages(self->map, 4 * psize, 9);
	EXPECT_EQ(0, munmap(self->map, 2 * SLOT));
	ASSERT_EQ(self->map, region_attach(self->fd, self->map, RW));
	EXPECT_EQ(1, peek(self->map));
	EXPECT_EQ(0, peek(self->map + psize));
}

/* By something else in its place. */
TEST_F(basic, replaced)
{
	void *map;

	poke(self->map, 1);
	map = mmap(self->map, 2 * SLOT, RW, MAP_PRIVATE | MAP_ANONYMOUS |
		   MAP_NORESERVE | MAP_FIXED, -1, 0);
	ASSERT_EQ(self->map, map);
	EXPECT_EQ(0, peek(map));
	EXPECT_EQ(0, region_info(self->fd).attachments);
	/* And an attachment in the place of something else. */
	map = mmap(self->map, 2 * SLOT, RW, MAP_SHARED | MAP_FIXED, self->fd, 0);
	ASSERT_EQ(self->map, map);
	EXPECT_EQ(1, peek(map));
	/* Itself by itself. */
	map = mmap(self->map, 2 * SLOT, RW, MAP_SHARED | MAP_FIXED, self->fd, 0);
	ASSERT_EQ(self->map, map);
	EXPECT_EQ(1, peek(map));
	EXPECT_EQ(1, region_info(self->fd).attachments);
}

TEST_F(basic, twice_in_one_process)
{
	char *second, *ro;
	int rofd = reopen(self->fd, O_RDONLY);

	second = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, second);
	ro = region_attach(rofd, NULL, PROT_READ);
	ASSERT_NE(MAP_FAILED, ro);
	EXPECT_EQ(3, region_info(self->fd).attachments);
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(0, check_pages(second, self->size, 1));
	EXPECT_EQ(0, check_pages(ro, self->size, 1));
	EXPECT_EQ(3, region_info(self->fd).links);
	EXPECT_EQ(0, probe_write(second, 5));
	EXPECT_EQ(SIGSEGV, probe_write(ro, 6));
	EXPECT_EQ(5, peek(self->map));
	EXPECT_EQ(5, peek(ro));
	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)self->map, 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)second, 0, 0));
	EXPECT_EQ(SIG(SIGSEGV), do_read((long)ro, 0, 0));
	/* Each is one for itself. */
	EXPECT_EQ(0, munmap(self->map, 2 * SLOT));
	EXPECT_EQ(mix(1, psize), peek(second + psize));
	EXPECT_EQ(0, munmap(second, 2 * SLOT));
	EXPECT_EQ(mix(1, psize), peek(ro + psize));
	EXPECT_EQ(1, region_info(self->fd).attachments);
}

/* Side by side, without a page between them. */
/* Flushing takes its time for each of them, and a reader may attach. */
TEST_F(basic, too_often_in_one_process)
{
	char *map[16];
	int n = 1;	/* there is the fixture's */

	for (; n < 20; n++) {
		map[n % 16] = region_attach(self->fd, NULL, PROT_READ);
		if (map[n % 16] == MAP_FAILED)
			break;
	}
	EXPECT_EQ(EMFILE, errno);
	EXPECT_EQ(16, n);
	EXPECT_EQ(16, region_info(self->fd).attachments);
	/* Others are not concerned, and a place can be had again. */
	EXPECT_EQ(0, munmap(map[7], 2 * SLOT));
	map[7] = region_attach(self->fd, NULL, PROT_READ);
	EXPECT_NE(MAP_FAILED, map[7]);
	EXPECT_EQ(0, do_read((long)map[7], 0, 0));
	EXPECT_EQ(-1, (long)region_attach(self->fd, NULL, PROT_READ));
}

TEST_F(basic, neighbours)
{
	char *place, *second;

	ASSERT_EQ(0, munmap(self->map, 2 * SLOT));
	place = mmap(NULL, 6 * SLOT, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, place);
	ASSERT_EQ(0, munmap(place, 6 * SLOT));
	place = (char *)(((uintptr_t)place + SLOT - 1) & -SLOT);
	ASSERT_EQ(place, region_attach(self->fd, place, RW));
	second = region_attach(self->fd, place + 2 * SLOT, RW);
	ASSERT_EQ(place + 2 * SLOT, second);
	fill_pages(place, self->size, 1);
	EXPECT_EQ(0, check_pages(second, self->size, 1));
	EXPECT_EQ(0, munmap(place, 2 * SLOT));
	EXPECT_EQ(0, check_pages(second, self->size, 1));
	ASSERT_EQ(place, region_attach(self->fd, place, RW));
	EXPECT_EQ(0, check_pages(place, self->size, 1));
	/* Both at once. */
	EXPECT_EQ(0, munmap(place, 4 * SLOT));
	EXPECT_EQ(0, region_info(self->fd).attachments);
}

static long create_and_die(long env, long file, long size)
{
	int fd = region_new(((struct env *)env)->dir, "orphan", SLOT);
	char *map;

	if (fd < 0 || backing_map(fd, 0, size, RW, file, 0))
		return 1;
	map = region_attach(fd, NULL, RW);
	if (map == MAP_FAILED)
		return 2;
	fill_pages(map, size, 4);
	kill(getpid(), SIGKILL);
	return 3;
}

TEST_F(basic, creator_dies)
{
	char path[64];
	char *map;
	int fd;

	ASSERT_EQ(SIG(SIGKILL), in_child(create_and_die, (long)&self->env,
					 self->file, self->size));
	snprintf(path, sizeof(path), "%s/orphan", self->env.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, region_info(fd).attachments);
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, check_pages(map, self->size, 4));
	fill_pages(map, self->size, 5);
	/* Memory that its creator had never touched. */
	EXPECT_EQ(0, region_map(fd, SLOT / 2, self->size, RW));
	fill_pages(map + SLOT / 2, self->size, 6);
	EXPECT_EQ(0, check_pages(map, self->size, 5));
	EXPECT_EQ(0, check_pages(map + SLOT / 2, self->size, 6));
}

TEST_F(basic, unlinked_while_attached)
{
	char path[64];
	struct peer peer;

	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, peer_start(&peer));
	snprintf(path, sizeof(path), "%s/region", self->env.dir);
	EXPECT_EQ(0, unlink(path));
	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&peer, do_read, HERE(0), 0, 0));
	EXPECT_EQ(mix(1, psize), peer_call(&peer, do_read, HERE(psize), 0, 0));
	/* No descriptor anywhere but in the peer, no name: it lives on. */
	EXPECT_EQ(0, munmap(self->map, 2 * SLOT));
	EXPECT_EQ(0, peer_call(&peer, do_write, HERE(2 * psize), 3, 0));
	EXPECT_EQ(3, peer_call(&peer, do_read, HERE(2 * psize), 0, 0));
	/* The name is free for another one. */
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	EXPECT_EQ(0, region_info(self->fd).mapped);
}

/* Without a descriptor in any process. */
static long do_close(long fd, long unused, long unused2)
{
	return close(fd) ? -errno : 0;
}

TEST_F(basic, held_by_the_attachment_alone)
{
	struct peer peer;
	char path[64];
	int fd;

	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, peer_start(&peer));
	ASSERT_EQ(0, peer_call(&peer, do_close, self->fd, 0, 0));
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(0, munmap(self->map, 2 * SLOT));
	EXPECT_EQ(0, peer_call(&peer, do_check, HERE(0), self->size, 1));
	snprintf(path, sizeof(path), "%s/region", self->env.dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(1, region_info(fd).attachments);
	EXPECT_EQ(0, region_unmap(fd, 0, psize));
	EXPECT_EQ(SIG(SIGSEGV), peer_call(&peer, do_read, HERE(0), 0, 0));
}

TEST_F(basic, killed)
{
	struct peer peer;

	fill_pages(self->map, self->size, 1);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, peer_start(&peer));
		EXPECT_EQ(0, peer_call(&peer, do_check, HERE(0), self->size, 1));
		EXPECT_EQ(2, region_info(self->fd).attachments);
		peer_kill(&peer);
		EXPECT_EQ(1, region_info(self->fd).attachments);
		EXPECT_EQ(1, region_info(self->fd).links);
		EXPECT_EQ(0, check_pages(self->map, self->size, 1));
	}
}

TEST_F(basic, many_regions)
{
	int n = by_scale(20, 200), wrong = 0;
	char name[32], *maps[200];
	int fds[200];
	struct peer peer;

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "many-%d", i);
		fds[i] = region_new(self->env.dir, name, SLOT);
		ASSERT_LE(0, fds[i]);
		ASSERT_EQ(0, backing_map(fds[i], 0, 4 * psize, RW, -1, 0));
		maps[i] = region_attach(fds[i], NULL, RW);
		ASSERT_NE(MAP_FAILED, maps[i]);
		fill_pages(maps[i], 4 * psize, i);
	}
	ASSERT_EQ(0, peer_start(&peer));
	for (int i = 0; i < n; i++)
		wrong += peer_call(&peer, do_check, (long)maps[i], 4 * psize, i);
	EXPECT_EQ(0, wrong);
	for (int i = 0; i < n; i += 2)
		ASSERT_EQ(0, region_unmap(fds[i], 0, SLOT));
	for (int i = 0; i < n; i++)
		EXPECT_EQ(i % 2 ? (long)mix(i, 0) : SIG(SIGSEGV),
			  peer_call(&peer, do_read, (long)maps[i], 0, 0));
}

TEST_F(basic, many_slots)
{
	int n = by_scale(40, 600), wrong = 0;
	int fd = region_new(self->env.dir, NULL, n * SLOT);
	struct peer peer;
	char *map;

	ASSERT_LE(0, fd);
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	for (int i = 0; i < n; i++) {
		/* Across the border of two. */
		uint64_t offset = i ? i * SLOT - psize : 0;

		ASSERT_EQ(0, region_map(fd, offset, 2 * psize, RW));
		fill_pages(map + offset, 2 * psize, i);
	}
	EXPECT_EQ(n, region_info(fd).links);
	ASSERT_EQ(0, peer_start(&peer));
	for (int i = 0; i < n; i++) {
		uint64_t offset = i ? i * SLOT - psize : 0;

		wrong += peer_call(&peer, do_check, (long)map + offset,
				   2 * psize, i);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(2 * n, region_info(fd).links);
	EXPECT_EQ(0, region_unmap(fd, 0, n * SLOT));
	for (int i = 0; i < n; i++)
		EXPECT_EQ(SIG(SIGSEGV), peer_call(&peer, do_read,
						  (long)map + i * SLOT, 0, 0));
}

/* More than there is of memory, all of it mapped. */
TEST_F(basic, window_beyond_memory)
{
	uint64_t window = (meminfo("MemTotal") * KIB / SLOT + 2) * 4 * SLOT;
	int fd = region_new(self->env.dir, NULL, window);
	char *map;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, region_map_flags(fd, 0, window, RW, MAP_SHARED | MAP_FIXED |
				      MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	map = region_attach(fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, map);
	for (uint64_t i = 0; i < window; i += SLOT / 2)
		poke(map + i, i + 1);
	for (uint64_t i = 0; i < window; i += SLOT / 2)
		ASSERT_EQ(i + 1, peek(map + i));
	EXPECT_EQ(window / (SLOT / 2) * psize, region_info(fd).resident);
	EXPECT_EQ(0, region_unmap(fd, 0, window));
	EXPECT_EQ(0, region_info(fd).resident);
}

/* Advice that frees, and advice that does not. */
TEST_F(basic, advice)
{
	struct peer peer;

	fill_pages(self->map, self->size, 1);
	ASSERT_EQ(0, peer_start(&peer));
	EXPECT_EQ(0, peer_call(&peer, do_check, HERE(0), self->size, 1));
	EXPECT_EQ(0, region_advise(self->fd, 0, self->size, MADV_DONTNEED));
	EXPECT_EQ(0, peer_call(&peer, do_check, HERE(0), self->size, 1));
	EXPECT_EQ(0, region_advise(self->fd, 0, self->size, MADV_COLD));
	EXPECT_EQ(0, region_advise(self->fd, 0, self->size, MADV_PAGEOUT));
	EXPECT_EQ(0, check_pages(self->map, self->size, 1));
	EXPECT_EQ(self->file == -1 ? 0 : -EOPNOTSUPP,
		  region_advise(self->fd, psize, psize, MADV_REMOVE));
	EXPECT_EQ(self->file == -1 ? 0 : (long)mix(1, psize),
		  peer_call(&peer, do_read, HERE(psize), 0, 0));
	EXPECT_EQ(mix(1, 2 * psize), peek(self->map + 2 * psize));
	EXPECT_EQ(0, region_advise(self->fd, 0, self->size, MADV_POPULATE_READ));
	EXPECT_EQ(0, region_advise(self->fd, 0, self->size,
				   MADV_POPULATE_WRITE));
	EXPECT_EQ(mix(1, 0), peek(self->map));
}

/* Filled by whoever maps, found by everybody. */
TEST_F(basic, populate)
{
	long before;

	ASSERT_EQ(0, region_map_flags(self->fd, SLOT, 64 * psize, RW, MAP_SHARED |
				      MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE,
				      -1, 0));
	/* The link, and what this function needs itself. */
	before = minflt();
	for (size_t i = 0; i < 64; i++)
		poke(self->map + SLOT + i * psize, i);
	EXPECT_GE(before + 3, minflt());
	/* The attacher's own: faults in what others have not. */
	ASSERT_EQ(0, region_map(self->fd, SLOT + 64 * psize, 64 * psize, RW));
	EXPECT_EQ(0, madvise(self->map + SLOT + 64 * psize, 64 * psize,
			     MADV_POPULATE_WRITE));
	before = minflt();
	for (size_t i = 64; i < 128; i++)
		poke(self->map + SLOT + i * psize, i);
	EXPECT_GE(before + 1, minflt());
}

struct touch {
	pthread_t thread;
	volatile char *addr;
	long sig;
};

static void *touch_in_thread(void *arg)
{
	struct touch *touch = arg;
	uint64_t value;

	touch->sig = probe_read(touch->addr, &value);
	return NULL;
}

/* A thread is no attacher of its own, and gets its own signal. */
TEST_F(basic, threads)
{
	struct touch touch[8];

	EXPECT_EQ(0, region_unmap(self->fd, 0, psize));
	for (int i = 0; i < 8; i++) {
		touch[i].addr = self->map + i * psize;
		ASSERT_EQ(0, pthread_create(&touch[i].thread, NULL,
					    touch_in_thread, &touch[i]));
	}
	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(touch[i].thread, NULL));
		EXPECT_EQ(i ? 0 : SIGSEGV, touch[i].sig);
	}
	EXPECT_EQ(1, region_info(self->fd).attachments);
}

TEST_HARNESS_MAIN
