// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random changes of a region against a model of it, an array of pages: each
 * succeeds or fails as the model says; afterwards the list, the counts, what
 * the mount has left and what attachers see are the model's, too.
 *
 * Where the kernel can have allocations fail (CONFIG_FAULT_INJECTION), each of
 * those that a call makes is made to: the call answers ENOMEM and nothing has
 * changed, or it could do without.
 */
#include <sys/statfs.h>

#include "mshare_test.h"

#define WINDOW	(2 * SLOT)
#define PAGES	24
/* Half of them in each slot. */
#define OFFSET	(SLOT - PAGES / 2 * psize)
/* What the mount has, so that it is used up now and then. */
#define RESERVABLE	20
/* More allocations than any call makes. */
#define MANY	1000000

enum page_kind {
	HOLE,
	MEMORY,
	NORESERVE,
	FILE_WRITABLE,
	FILE_READONLY,
	PAGE_KINDS,
};

enum call {
	MAP,
	UNMAP,
	PROTECT,
	REMOVE,
	DONTNEED,
	CALLS,
};

struct page {
	enum page_kind kind;
	int prot;
	uint64_t value;		/* if it is memory */
};

struct change {
	enum call call;
	int first;
	int count;
	int prot;
	enum page_kind kind;
	int populate;
};

/* In memory that the test and its peer share. */
struct model {
	struct page pages[PAGES];
	uint64_t file[PAGES];
	uint64_t generation;
	uint64_t random;
};

static struct model *model;
/* /proc/thread-self/fail-nth, or -1: opening it would allocate, too. */
static int fail_nth = -1;
static long injected;

/* -------------------------------------------------------- failing allocation */

static bool injects(void)
{
	return fail_nth != -1;
}

/* The settings are of no effect for tasks that have asked for nothing. */
static void inject_init(void)
{
	debugfs_mount();
	if (access("/sys/kernel/debug/failslab", F_OK))
		return;
	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth == -1)
		ksft_exit_fail_perror("fail-nth");
	write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	write_file("/sys/kernel/debug/failslab/verbose", "0");
	write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
	write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	write_file("/sys/kernel/debug/fail_page_alloc/verbose", "0");
}

/* The nth allocation of this thread from now on fails. */
static void arm(long nth)
{
	if (injects() && dprintf(fail_nth, "%ld", nth) < 0)
		ksft_exit_fail_perror("fail-nth");
}

/* How many are left until then, and none fails from now on. Keeps errno. */
static long left(void)
{
	int error = errno;
	char text[24] = "";

	if (!injects())
		return -1;
	if (pread(fail_nth, text, sizeof(text) - 1, 0) <= 0)
		ksft_exit_fail_perror("fail-nth");
	arm(0);
	errno = error;
	return atol(text);
}

/* Whether one has failed. */
static bool disarm(void)
{
	bool struck = left() == 0;

	injected += struck;
	return struck;
}

/* ------------------------------------------------------------------ the model */

static int below(int n)
{
	return rnd(&model->random) % n;
}

static bool is_file(enum page_kind kind)
{
	return kind == FILE_WRITABLE || kind == FILE_READONLY;
}

static uint64_t *content(int i)
{
	return is_file(model->pages[i].kind) ? &model->file[i] :
					       &model->pages[i].value;
}

static int count_of(enum page_kind kind, int first, int count)
{
	int n = 0;

	for (int i = first; i < first + count; i++)
		n += model->pages[i].kind == kind;
	return n;
}

/* 0 or what the call fails with, and then nothing is changed. */
static int expected(const struct change *c)
{
	int holes = count_of(HOLE, c->first, c->count);
	int readonly = count_of(FILE_READONLY, c->first, c->count);

	switch (c->call) {
	case MAP:
		if (c->kind == FILE_READONLY && c->prot & PROT_WRITE)
			return -EACCES;
		if (holes != c->count)
			return -EEXIST;
		if (c->kind == MEMORY &&
		    count_of(MEMORY, 0, PAGES) + c->count > RESERVABLE)
			return -ENOSPC;
		return 0;
	case PROTECT:
		if (holes)
			return -ENOMEM;
		return readonly && c->prot & PROT_WRITE ? -EACCES : 0;
	case REMOVE:
		if (holes)
			return -ENOMEM;
		return readonly || count_of(FILE_WRITABLE, c->first, c->count) ?
			-EOPNOTSUPP : 0;
	case DONTNEED:
		return holes ? -ENOMEM : 0;
	default:
		return 0;
	}
}

static void apply(const struct change *c)
{
	if (c->call == MAP || c->call == PROTECT ||
	    (c->call == UNMAP &&
	     count_of(HOLE, c->first, c->count) < c->count))
		model->generation++;
	for (int i = c->first; i < c->first + c->count; i++) {
		struct page *page = &model->pages[i];

		switch (c->call) {
		case MAP:
			*page = (struct page){ c->kind, c->prot, 0 };
			break;
		case UNMAP:
			*page = (struct page){ HOLE };
			break;
		case PROTECT:
			page->prot = c->prot;
			break;
		case REMOVE:
			page->value = 0;
			break;
		default:
			break;
		}
	}
}

static struct change random_change(void)
{
	static const int prots[] = {
		PROT_NONE, PROT_READ, RW, RW, PROT_READ | PROT_EXEC, RWX,
	};
	struct change c = {
		.call = below(CALLS),
		.first = below(PAGES),
		.prot = prots[below(6)],
		.kind = MEMORY + below(PAGE_KINDS - MEMORY),
		.populate = below(4) ? 0 : MAP_POPULATE,
	};

	/* Advice changes nothing that others could get wrong: less of it. */
	if (c.call > PROTECT && below(2))
		c.call = below(PROTECT + 1);
	c.count = 1 + below(below(2) ? PAGES - c.first :
			    (PAGES - c.first + 3) / 4);
	return c;
}

/* ----------------------------------------------------------------- the region */

FIXTURE(model) {
	struct env env;
	int fd;
	int file;
	int file_readonly;
	char *map;
	char *readonly;
	struct peer peer;
	char *peer_map;
};

FIXTURE_SETUP(model)
{
	const char *seed = getenv("MSHARE_TEST_SEED");
	char options[32];

	snprintf(options, sizeof(options), "size=%zu", RESERVABLE * psize);
	ENV_ENTER(&self->env, options);
	inject_init();
	injected = 0;
	model = mmap(NULL, sizeof(*model), RW, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	ASSERT_NE(MAP_FAILED, model);
	model->random = seed ? strtoull(seed, NULL, 0) : now() * 1e9;
	/* From 0, all that follows is 0. */
	model->random += !model->random;
	note("MSHARE_TEST_SEED=%llu%s",
	     (unsigned long long)model->random,
	     injects() ? "" : "; this kernel's allocations do not fail");

	self->file = backing_new(&self->env, MEMFD, PAGES * psize);
	ASSERT_LE(0, self->file);
	self->file_readonly = reopen(self->file, O_RDONLY);
	ASSERT_LE(0, self->file_readonly);
	self->fd = region_new(self->env.dir, "region", WINDOW);
	ASSERT_LE(0, self->fd);
	self->map = region_attach(self->fd, NULL, RWX);
	ASSERT_NE(MAP_FAILED, self->map);
	self->readonly = region_attach(self->fd, NULL, PROT_READ);
	ASSERT_NE(MAP_FAILED, self->readonly);
	ASSERT_EQ(0, peer_start(&self->peer));
	self->peer_map = (char *)peer_call(&self->peer, do_attach, self->fd, 0,
					   RWX);
	ASSERT_LT(0, (long)self->peer_map);
}

FIXTURE_TEARDOWN(model)
{
	ENV_LEAVE(&self->env);
	munmap(model, sizeof(*model));
}

static int do_change(struct _test_data_model *self, const struct change *c)
{
	uint64_t offset = OFFSET + c->first * psize, size = c->count * psize;
	int flags = MAP_SHARED | MAP_FIXED | c->populate, file = -1;

	switch (c->call) {
	case MAP:
		if (c->kind == FILE_WRITABLE)
			file = self->file;
		else if (c->kind == FILE_READONLY)
			file = self->file_readonly;
		else
			flags |= MAP_ANONYMOUS;
		if (c->kind == NORESERVE)
			flags |= MAP_NORESERVE;
		return region_map_flags(self->fd, offset, size, c->prot, flags,
					file, c->first * psize);
	case UNMAP:
		return region_unmap(self->fd, offset, size);
	case PROTECT:
		return region_protect(self->fd, offset, size, c->prot);
	case REMOVE:
		return region_advise(self->fd, offset, size, MADV_REMOVE);
	default:
		return region_advise(self->fd, offset, size, MADV_DONTNEED);
	}
}

static int describe(char *text, const struct change *c)
{
	static const char *const calls[] = {
		"map", "unmap", "protect", "remove", "dontneed",
	};

	return sprintf(text, "%s of pages %d to %d, prot %d, kind %d%s",
		       calls[c->call], c->first, c->first + c->count - 1,
		       c->prot, c->kind, c->populate ? ", populated" : "");
}

/* The list and the counts; how many are not the model's. */
static int compare(struct _test_data_model *self)
{
	struct mshare_mapping_entry list[PAGES + 1], want[PAGES + 1];
	struct mshare_region_info info = region_info(self->fd);
	uint64_t generation = 0;
	struct statfs fs;
	int runs = 0, wrong;
	long listed;

	for (int i = 0; i < PAGES; i++) {
		const struct page *page = &model->pages[i];
		struct mshare_mapping_entry *last = runs ? &want[runs - 1] : NULL;
		struct mshare_mapping_entry entry = {
			OFFSET + i * psize, psize, page->prot,
			(page->kind == NORESERVE ? MAP_NORESERVE : 0) |
			(is_file(page->kind) ? 0 : MAP_ANONYMOUS),
		};

		if (page->kind == HOLE)
			continue;
		if (last && last->region_offset + last->size ==
			    entry.region_offset &&
		    last->prot == entry.prot && last->flags == entry.flags)
			last->size += psize;
		else
			want[runs++] = entry;
	}
	listed = region_list(self->fd, 0, list, PAGES + 1, &generation);
	wrong = listed != runs || memcmp(list, want, runs * sizeof(*want));
	wrong += info.mappings != runs;
	wrong += generation != model->generation;
	wrong += info.generation != model->generation;
	wrong += info.mapped !=
		 (PAGES - count_of(HOLE, 0, PAGES)) * psize;
	wrong += statfs(self->env.dir, &fs) ||
		 fs.f_bfree != RESERVABLE - count_of(MEMORY, 0, PAGES);
	if (wrong)
		note("%ld runs for %d, generation %llu (listed %llu) for %llu, mapped %llu, free %lu",
		     listed, runs, (unsigned long long)info.generation,
		     (unsigned long long)generation,
		     (unsigned long long)model->generation,
		     (unsigned long long)info.mapped,
		     (unsigned long)fs.f_bfree);
	return wrong;
}

/*
 * Reads all pages and writes some; how many accesses went wrong. One of them may
 * be starved of memory, which is SIGBUS, and again is not.
 */
static long look(long addr, long writable, long starved)
{
	long wrong = 0;

	for (int i = 0; i < PAGES; i++) {
		char *at = (char *)addr + OFFSET + i * psize;
		const struct page *page = &model->pages[i];
		bool may = page->kind != HOLE && page->prot;
		uint64_t value = 0, new = rnd(&model->random);
		int sig = probe_read(at, &value);

		if (sig == SIGBUS && starved-- > 0)
			sig = probe_read(at, &value);
		if (sig != (may ? 0 : SIGSEGV) || (may && value != *content(i))) {
			note("page %d: read %llu, signal %d; is %llu", i,
			     (unsigned long long)value, sig,
			     may ? (unsigned long long)*content(i) : 0ULL);
			wrong++;
		}
		if (below(3))
			continue;
		may = may && writable && page->prot & PROT_WRITE;
		sig = probe_write(at, new);
		if (sig == SIGBUS && starved-- > 0)
			sig = probe_write(at, new);
		if (sig != (may ? 0 : SIGSEGV)) {
			note("page %d: written, signal %d", i, sig);
			wrong++;
		}
		if (!sig)
			*content(i) = new;
	}
	return wrong;
}

/* All attachers, and this one's faults without memory now and then. */
static long all_look(struct _test_data_model *self)
{
	long wrong;

	arm(1 + below(8));
	wrong = look((long)self->map, true, injects());
	disarm();
	wrong += peer_call(&self->peer, look, (long)self->peer_map, true, 0);
	wrong += look((long)self->readonly, false, 0);
	return wrong;
}

/*
 * The change, with its first allocation failing, then its second, and so on
 * until there is none that could. How much went wrong.
 */
static int change_and_compare(struct _test_data_model *self,
			      const struct change *c)
{
	int want = expected(c), wrong = 0, result;
	/* Part of what it is told to free may be gone when it fails. */
	bool inject = injects() && c->call <= PROTECT;
	bool struck;
	char text[80];

	for (long nth = 1;; nth++) {
		if (inject)
			arm(nth);
		result = do_change(self, c);
		struck = inject && disarm();
		if (!struck || result != -ENOMEM)
			break;
		wrong += compare(self);
		if (wrong) {
			describe(text, c);
			note("%s: without allocation %ld", text, nth);
			return wrong;
		}
	}
	if (!want)
		apply(c);
	wrong = (result != want) + compare(self);
	if (wrong) {
		describe(text, c);
		note("%s: %d for %d", text, result, want);
	}
	return wrong;
}

static void fill(struct _test_data_model *self)
{
	struct change c;

	for (int i = 0; i < 2 * PAGES; i++) {
		c = random_change();
		c.call = MAP;
		c.count = c.count % 4 + 1;
		if (c.first + c.count <= PAGES)
			change_and_compare(self, &c);
	}
}

/* ------------------------------------------------------------------ the tests */

TEST_F_TIMEOUT(model, random_changes, TEST_TIMEOUT_DEFAULT)
{
	long changes = by_scale(injects() ? 150 : 1000, injects() ? 5000 : 50000);
	long refused = 0;

	for (long i = 0; i < changes; i++) {
		struct change c = random_change();

		refused += expected(&c) != 0;
		ASSERT_EQ(0, change_and_compare(self, &c));
		if (i % 4 == 0)
			ASSERT_EQ(0, all_look(self));
	}
	note("%ld changes, %ld of them refused; %ld allocations failed",
	     changes, refused, injected);
	EXPECT_LT(changes / 10, refused);
	EXPECT_LT(changes / 10, changes - refused);
	if (injects())
		EXPECT_LT(changes / 4, injected);
}

TEST_F(model, new_regions_without_memory)
{
	struct statfs before, after;
	bool struck;
	int fd;

	ASSERT_EQ(0, statfs(self->env.dir, &before));
	for (long nth = 1;; nth++) {
		arm(nth);
		fd = region_new(self->env.dir, NULL, WINDOW);
		struck = disarm();
		if (fd >= 0) {
			EXPECT_EQ(WINDOW, region_info(fd).window);
			close(fd);
		} else {
			EXPECT_EQ(-ENOMEM, fd);
			EXPECT_TRUE(struck);
		}
		if (!struck)
			break;
	}
	note("%ld allocations failed", injected);
	/* What it takes to let go of a file is put off. */
	for (int i = 0; i < 100; i++) {
		ASSERT_EQ(0, statfs(self->env.dir, &after));
		if (after.f_ffree == before.f_ffree)
			break;
		usleep(10000);
	}
	EXPECT_EQ(before.f_ffree, after.f_ffree);
	if (injects())
		EXPECT_LT(0, injected);
}

TEST_F(model, attaching_without_memory)
{
	uint32_t before = region_info(self->fd).attachments;
	bool struck;

	fill(self);
	injected = 0;
	for (long nth = 1;; nth++) {
		char *map;

		arm(nth);
		map = region_attach(self->fd, NULL, RWX);
		struck = disarm();
		if (map != MAP_FAILED) {
			EXPECT_EQ(before + 1,
				  region_info(self->fd).attachments);
			EXPECT_EQ(0, look((long)map, true, 0));
			EXPECT_EQ(0, munmap(map, WINDOW));
		} else {
			EXPECT_EQ(ENOMEM, errno);
			EXPECT_TRUE(struck);
		}
		ASSERT_EQ(before, region_info(self->fd).attachments);
		if (!struck)
			break;
	}
	note("%ld allocations failed", injected);
	ASSERT_EQ(0, all_look(self));
	if (injects())
		EXPECT_LT(0, injected);
}

/* fork() makes hundreds of allocations: some of them. */
TEST_F(model, forking_without_memory)
{
	uint32_t before = region_info(self->fd).attachments;
	long failed = 0, forks = by_scale(30, 1000);
	long all = 1;

	fill(self);
	for (long i = 0; i <= forks; i++) {
		int status = 0;
		pid_t pid;

		/* The first one is there to be counted. */
		arm(i ? 1 + below(all) : MANY);
		pid = fork();
		if (pid == 0)
			_exit(!!look((long)self->map, true, 0));
		if (!i && injects())
			all = MANY - left();
		else
			disarm();
		if (pid < 0) {
			EXPECT_EQ(ENOMEM, errno);
			failed++;
		} else {
			ASSERT_EQ(pid, waitpid(pid, &status, 0));
			EXPECT_EQ(0, status);
		}
		ASSERT_EQ(before, region_info(self->fd).attachments);
	}
	ASSERT_EQ(0, all_look(self));
	if (injects()) {
		note("%ld of %ld forks failed; one makes %ld allocations",
		     failed, forks, all);
		EXPECT_LT(0, failed);
	}
}

TEST_HARNESS_MAIN
