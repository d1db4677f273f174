// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /proc says of attachments, and that memory is back when regions are gone:
 * judged by what is free after caches have been dropped, with what processors
 * keep for themselves counted in, since that alone is tens of megabytes.
 */
#include "mshare_test.h"

FIXTURE(accounting) {
	struct env env;
	int fd;
	int file;
	char *map;
	size_t size;
};

FIXTURE_VARIANT(accounting) {
	enum backing_kind kind;
};

FIXTURE_VARIANT_ADD(accounting, memory) {
	.kind = ANONYMOUS,
};

FIXTURE_VARIANT_ADD(accounting, memfd) {
	.kind = MEMFD,
};

FIXTURE_VARIANT_ADD(accounting, ext4) {
	.kind = EXT4,
};

FIXTURE_SETUP(accounting)
{
	self->size = by_scale(4, 16) * MIB;
	ENV_ENTER(&self->env, NULL);
	BACKING_NEW(self->file, &self->env, variant->kind, self->size);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, backing_map(self->fd, 0, self->size, RW, self->file, 0));
	region_advise(self->fd, 0, self->size, MADV_NOHUGEPAGE);
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
}

FIXTURE_TEARDOWN(accounting)
{
	ENV_LEAVE(&self->env);
}

static long smaps(pid_t pid, const char *map, const char *key)
{
	return smaps_of(pid, map, key, NULL, 0) * (long)KIB;
}

TEST_F(accounting, smaps)
{
	char flags[256] = "";
	struct peer peer;
	pid_t me = getpid();

	ASSERT_EQ(0, peer_start(&peer));
	fill_pages(self->map, self->size / 2, 1);
	EXPECT_EQ(SLOT, smaps(me, self->map, "Size"));
	EXPECT_EQ(self->size / 2, smaps(me, self->map, "Rss"));
	EXPECT_EQ(0, smaps(me, self->map, "Swap"));
	EXPECT_EQ(0, smaps(me, self->map, "Locked"));
	EXPECT_EQ(0, smaps(me, self->map, "Anonymous"));
	EXPECT_EQ(0, smaps(me, self->map, "Private_Hugetlb"));
	EXPECT_EQ(self->size / 2, smaps(me, self->map, "Referenced"));
	/* One set of tables maps a page once, whoever looks. */
	EXPECT_EQ(self->size / 2, smaps(me, self->map, "Pss"));
	/* Not linked: nothing is mapped by this one. */
	EXPECT_EQ(0, smaps(peer.pid, self->map, "Rss"));
	EXPECT_EQ(0, peer_call(&peer, do_check, (long)self->map,
			       self->size / 2, 1));
	EXPECT_EQ(self->size / 2, smaps(peer.pid, self->map, "Rss"));
	/* What the one touches is there for the other. */
	fill_pages(self->map, self->size, 1);
	EXPECT_EQ(self->size, smaps(peer.pid, self->map, "Rss"));
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size / 2));
	EXPECT_EQ(self->size / 2, smaps(me, self->map, "Rss"));
	EXPECT_EQ(self->size / 2, smaps(peer.pid, self->map, "Rss"));
	smaps_of(me, self->map, "Rss", flags, sizeof(flags));
	for (const char *flag = "rd\0wr\0sh\0ms\0de\0dd\0"; *flag; flag += 3) {
		EXPECT_NE(NULL, strstr(flags, flag)) {
			TH_LOG("no '%s' in VmFlags: %s", flag, flags);
		}
	}
	/* A flag without a name shows as this. */
	EXPECT_EQ(NULL, strstr(flags, "??"));
}

/* The contents are the region's, not a part of any attacher. */
TEST_F(accounting, status)
{
	pid_t me = getpid();
	long rss, size, pte;

	rss = status_of(me, "VmRSS");
	size = status_of(me, "VmSize");
	pte = status_of(me, "VmPTE");
	fill_pages(self->map, self->size, 1);
	EXPECT_GE(rss + 512, status_of(me, "VmRSS"));
	EXPECT_EQ(size, status_of(me, "VmSize"));
	EXPECT_GE(pte + 16, status_of(me, "VmPTE"));
	ASSERT_EQ(0, munmap(self->map, SLOT));
	EXPECT_EQ(size - (long)(SLOT / KIB), status_of(me, "VmSize"));
}

TEST_F(accounting, info)
{
	struct mshare_region_info info;

	fill_pages(self->map, self->size, 1);
	info = region_info(self->fd);
	EXPECT_EQ(self->size, info.mapped);
	EXPECT_EQ(self->size, info.resident);
	EXPECT_EQ(1, info.links);
	ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
	info = region_info(self->fd);
	EXPECT_EQ(0, info.mapped);
	EXPECT_EQ(0, info.resident);
	/* Kept for those who are attached, and shown. */
	EXPECT_LE(self->size / 512, info.page_table_bytes);
	ASSERT_EQ(0, munmap(self->map, SLOT));
	info = region_info(self->fd);
	EXPECT_EQ(0, info.links);
	EXPECT_GE(2 * psize, info.page_table_bytes);
}

TEST_F(accounting, maps)
{
	static char text[1 << 16];
	char want[64], *line;

	ASSERT_LT(0, read_file("/proc/self/maps", text, sizeof(text)));
	snprintf(want, sizeof(want), "%lx-%lx rw-s 00000000",
		 (unsigned long)self->map, (unsigned long)self->map + SLOT);
	line = strstr(text, want);
	ASSERT_NE(NULL, line);
	EXPECT_NE(NULL, strstr(line, "/region\n"));
}

/* Core files do not have what several share. */
TEST_F(accounting, core)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	char before[256], pattern[300], dir[] = "/tmp/mshare.XXXXXX";
	char path[PATH_MAX];
	struct stat st;
	pid_t pid;
	int status;

	if (read_file("/proc/sys/kernel/core_pattern", before,
		      sizeof(before)) < 0)
		SKIP_REST(return, "no core files in this kernel");
	fill_pages(self->map, self->size, 1);
	ASSERT_NE(NULL, mkdtemp(dir));
	snprintf(pattern, sizeof(pattern), "%s/core", dir);
	ASSERT_EQ(0, write_file("/proc/sys/kernel/core_pattern", pattern));
	pid = fork_mortal();
	if (!pid) {
		setrlimit(RLIMIT_CORE, &limit);
		prctl(PR_SET_DUMPABLE, 1);
		abort();
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	write_file("/proc/sys/kernel/core_pattern", before);
	EXPECT_TRUE(WIFSIGNALED(status));
	snprintf(path, sizeof(path), "%s/core", dir);
	if (stat(path, &st)) {
		/* The pid may have been appended to it. */
		snprintf(path, sizeof(path), "%s/core.%d", dir, pid);
		ASSERT_EQ(0, stat(path, &st));
	}
	note("core file: %ld KiB on disk, %ld MiB long", (long)st.st_blocks / 2,
	     (long)st.st_size / (long)MIB);
	EXPECT_GT(self->size, st.st_blocks * 512);
	unlink(path);
	rmdir(dir);
}

/* ---- leaks ---------------------------------------------------------------- */

/* Pages that processors keep for themselves, in kB. */
static long kept_by_processors(void)
{
	char line[256];
	long pages = 0;
	FILE *f = fopen("/proc/zoneinfo", "re");

	while (f && fgets(line, sizeof(line), f)) {
		long n;

		/* "count:" of each processor; "count" alone is something else */
		if (sscanf(line, " count: %ld", &n) == 1)
			pages += n;
	}
	if (f)
		fclose(f);
	return pages * (long)psize / (long)KIB;
}

struct memory {
	long free;
	long tables;
	long slab;
	long shmem;
};

static struct memory memory_now(void)
{
	struct memory memory;

	/* Freed by RCU, by workers, at the next tick: a while. */
	for (int i = 0; i < 3; i++) {
		sync();
		write_file("/proc/sys/vm/drop_caches", "3");
		write_file("/proc/sys/vm/compact_memory", "1");
		usleep(100000);
	}
	memory.free = meminfo("MemFree") + kept_by_processors();
	memory.tables = meminfo("PageTables");
	memory.slab = meminfo("SUnreclaim");
	memory.shmem = meminfo("Shmem");
	return memory;
}

static void storm(struct _test_data_accounting *self, enum backing_kind kind,
		  uint64_t random)
{
	char name[32], path[128];

	for (int i = 0; i < by_scale(10, 20); i++) {
		size_t size = (1 + rnd(&random) % 16) * 64 * KIB;
		int fd, file;
		pid_t pids[4];
		char *map;

		snprintf(name, sizeof(name), "storm-%d", i);
		fd = region_new(self->env.dir, name, (1 + rnd(&random) % 4) *
				SLOT);
		file = backing_new(&self->env, kind, size);
		backing_map(fd, 0, size, RW, file, 0);
		backing_map(fd, SLOT - size, size, RW, file, 0);
		map = region_attach(fd, NULL, RW);
		for (int j = 0; j < 4; j++) {
			pids[j] = fork_mortal();
			if (pids[j])
				continue;
			fill_pages(map, size, i);
			region_unmap(fd, rnd(&random) % 8 * psize, 4 * psize);
			fill_pages(map + SLOT - size, size, i);
			if (j % 2)
				munmap(map, SLOT);
			if (j == 3)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		for (int j = 0; j < 4; j++)
			waitpid(pids[j], NULL, 0);
		snprintf(path, sizeof(path), "%s/%s", self->env.dir, name);
		unlink(path);
		if (file >= 0)
			close(file);
		close(fd);
		/* Windows differ: by what maps says. */
		drop_all(path);
	}
}

TEST_F(accounting, nothing_is_lost)
{
	struct memory before, after;
	long rounds = by_scale(2, 10), lost;

	debugfs_mount();
	/* Once before: caches, slabs, and whatever is made on first use. */
	storm(self, variant->kind, 1);
	before = memory_now();
	for (long i = 0; i < rounds; i++)
		storm(self, variant->kind, i + 2);
	after = memory_now();
	lost = before.free - after.free;
	note("%ld rounds: free %ld -> %ld kB, page tables %ld -> %ld, slab %ld -> %ld, shmem %ld -> %ld",
	     rounds, before.free, after.free, before.tables, after.tables,
	     before.slab, after.slab, before.shmem, after.shmem);
	EXPECT_GE(before.tables + 64, after.tables);
	/* The ext4 is in a file in memory, which grows as blocks are first used. */
	if (variant->kind == EXT4)
		lost -= after.shmem > before.shmem ? after.shmem - before.shmem : 0;
	else
		EXPECT_GE(before.shmem + 64, after.shmem);
	/*
	 * Each round has some 10 MiB at least. What KASAN keeps in quarantine is slab,
	 * and not lost: it is subtracted.
	 */
	lost -= after.slab > before.slab ? after.slab - before.slab : 0;
	EXPECT_GE(4 * 1024, lost);
	EXPECT_EQ(1, region_info(self->fd).attachments);
}

TEST_HARNESS_MAIN
