// SPDX-License-Identifier: GPL-2.0-only
/*
 * Does any attacher still reach what has been unmapped, protected or replaced?
 *
 * Workers in several processes, at several addresses and on all processors,
 * access pages of a region without pause. One process changes the region. A
 * sequence number is odd while a change is under way; an access that had the
 * same even number before and after it lay wholly between two changes, and must
 * have found what the last one made: a fault, or the contents of that time.
 * Memory that was freed is taken into use at once and filled with poison, which
 * nobody may read or overwrite.
 *
 * That this would find something is shown each time: with the flush of attachers
 * switched off (CONFIG_MSHARE_DEBUG), it does. Only pages that stay where they
 * are, in a memfd, are used for that, so that what goes wrong goes wrong there.
 *
 * What it cannot show: an emulator without PCID flushes all at each switch of
 * address spaces. That a change flushes every attacher, on a processor or not,
 * is therefore counted.
 */
#include <linux/falloc.h>

#include "mshare_test.h"

#define WORKERS_MAX	64

enum state {
	GONE,
	READABLE,
	WRITABLE,
};

struct counts {
	unsigned long stable;		/* accesses that could be judged */
	unsigned long stale_reads;
	unsigned long stale_writes;
	unsigned long wrong_values;
	unsigned long false_faults;
	char pad[24];
};

struct control {
	_Atomic unsigned long sequence;
	volatile enum state state;
	volatile uint64_t seed;		/* of the contents; 0: zeroes */
	volatile int stop;
	char pad[40];
	struct counts counts[WORKERS_MAX];
};

static struct control *control_new(void)
{
	size_t size = (sizeof(struct control) + psize - 1) & -psize;
	void *map = mmap(NULL, size, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

static uint64_t expected(uint64_t seed, size_t page)
{
	return seed ? mix(seed, page) : 0;
}

/* The first word of a page has the contents, the second one is scribbled on. */
static void work(struct control *control, struct counts *counts, char *map,
		 size_t pages, bool writer, uint64_t random)
{
	while (!control->stop) {
		unsigned long before, after;
		enum state state;
		uint64_t seed, value = 0;
		size_t page = rnd(&random) % pages;
		char *addr = map + page * psize;
		int sig;

		before = atomic_load(&control->sequence);
		state = control->state;
		seed = control->seed;
		/* At any time, so that the TLB has what there is to have. */
		if (writer)
			sig = probe_write(addr + 8, random);
		else
			sig = probe_read(addr, &value);
		atomic_thread_fence(memory_order_seq_cst);
		after = atomic_load(&control->sequence);
		if (before != after || before & 1)
			continue;
		counts->stable++;
		if (writer) {
			if (state == WRITABLE)
				counts->false_faults += sig != 0;
			else
				counts->stale_writes += sig == 0;
		} else {
			if (state == GONE)
				counts->stale_reads += sig == 0;
			else if (sig)
				counts->false_faults++;
			else
				counts->wrong_values +=
					value != expected(seed, page);
		}
	}
}

static void begin(struct control *control)
{
	atomic_fetch_add(&control->sequence, 1);
}

static void end(struct control *control, enum state state, uint64_t seed)
{
	control->state = state;
	control->seed = seed;
	atomic_fetch_add(&control->sequence, 1);
}

static struct counts sum(struct control *control, int workers)
{
	struct counts total = {};

	for (int i = 0; i < workers; i++) {
		struct counts *c = &control->counts[i];

		total.stable += c->stable;
		total.stale_reads += c->stale_reads;
		total.stale_writes += c->stale_writes;
		total.wrong_values += c->wrong_values;
		total.false_faults += c->false_faults;
	}
	return total;
}

/* Until something has been looked at; they may all be waiting for a processor. */
static void let_them_look(struct control *control, int workers)
{
	unsigned long goal = sum(control, workers).stable + 4 * workers;
	double limit = now() + 60;

	while (sum(control, workers).stable < goal && now() < limit)
		sched_yield();
}

FIXTURE(stale) {
	struct env env;
	int fd;
	int file[2];
	char *map;		/* of who changes */
	size_t size;
	struct control *control;
	pid_t workers[WORKERS_MAX];
	int running;
};

FIXTURE_VARIANT(stale) {
	size_t pages;
	bool huge;
};

FIXTURE_VARIANT_ADD(stale, page) {
	.pages = 1,
};

FIXTURE_VARIANT_ADD(stale, pages_8) {
	.pages = 8,
};

/* More than is flushed page by page. */
FIXTURE_VARIANT_ADD(stale, pages_64) {
	.pages = 64,
};

FIXTURE_VARIANT_ADD(stale, pages_1024) {
	.pages = 1024,
};

FIXTURE_VARIANT_ADD(stale, huge) {
	.pages = 1024,
	.huge = true,
};

/* How shmem may use huge pages; put back as it was. */
#define SHMEM_HUGE	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static void no_flush(const char *value)
{
	debugfs_mount();
	write_file(NO_FLUSH, value);
}

FIXTURE_SETUP(stale)
{
	ENV_ENTER(&self->env, NULL);
	/* Somebody may have been killed before he could. */
	no_flush("0");
	self->size = variant->pages * psize;
	self->control = control_new();
	ASSERT_NE(NULL, self->control);
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	self->map = region_attach(self->fd, NULL, RW);
	ASSERT_NE(MAP_FAILED, self->map);
	for (int i = 0; i < 2; i++) {
		self->file[i] = memfd_create("file", MFD_CLOEXEC);
		ASSERT_LE(0, self->file[i]);
		ASSERT_EQ(0, ftruncate(self->file[i], self->size));
	}
}

static void end_workers(struct _test_data_stale *self)
{
	self->control->stop = 1;
	for (int i = 0; i < self->running; i++) {
		kill(self->workers[i], SIGKILL);
		waitpid(self->workers[i], NULL, 0);
	}
	self->running = 0;
}

FIXTURE_TEARDOWN(stale)
{
	no_flush("0");
	end_workers(self);
	ENV_LEAVE(&self->env);
}

static int start_workers(struct _test_data_stale *self, size_t pages, int n)
{
	for (int i = 0; i < n; i++) {
		pid_t pid = fork_mortal();

		if (pid < 0)
			return -errno;
		if (pid == 0) {
			char *map = self->map;

			pin(i % cpus());
			/* Half of them where it is, half somewhere else. */
			if (i % 2) {
				if (munmap(map, SLOT))
					_exit(1);
				map = region_attach(self->fd, map - (2 + i) *
						    SLOT, RW);
				if (map == MAP_FAILED)
					_exit(2);
			}
			work(self->control, &self->control->counts[i], map,
			     pages, i / 2 % 2, i + 1);
			_exit(0);
		}
		self->workers[self->running++] = pid;
	}
	return 0;
}

/* What is in a file, without touching a page table. */
static int fill_file(int file, size_t pages, uint64_t seed)
{
	for (size_t i = 0; i < pages; i++) {
		uint64_t value = expected(seed, i);

		if (pwrite(file, &value, 8, i * psize) != 8)
			return -errno;
	}
	return 0;
}

#define POISON	0x5a5a5a5a5a5a5a5aULL

/* Memory for which the pages that have just been freed are the first choice. */
static char *poison_new(size_t size)
{
	char *map = mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS |
			 MAP_POPULATE, -1, 0);

	if (map != MAP_FAILED)
		memset(map, 0x5a, size);
	return map;
}

static long poison_damaged(const char *map, size_t size)
{
	long damaged = 0;

	for (size_t i = 0; i < size; i += 8)
		damaged += peek(map + i) != POISON;
	return damaged;
}

enum change {
	UNMAP_AND_POISON,
	MAP_AGAIN,
	PROTECT_READ,
	PROTECT_NONE,
	PROTECT_WRITE,
	REPLACE_BY_FILE,
	REPLACE_BY_OTHER_FILE,
	PUNCH,
	TRUNCATE_AND_GROW,
	REMOVE,
	DROP,
	CHANGES,
};

static const char * const change_names[CHANGES] = {
	"unmap", "map", "protect (read)", "protect (none)", "protect (write)",
	"file", "other file", "punch", "truncate", "remove", "drop",
};

TEST_F(stale, none)
{
	struct control *control = self->control;
	unsigned long changes[CHANGES] = {}, all = 0;
	int workers = 2 * cpus() < 8 ? 8 : 2 * cpus();
	long damaged = 0;
	size_t pages = variant->pages, size = self->size;
	uint64_t seed = 1, random = getpid();
	/* -1: memory */
	int mapped = -1;
	enum state state;
	struct counts c;
	double until;
	bool huge = false;
	char huge_before[128], *selected;

	if (workers > WORKERS_MAX)
		workers = WORKERS_MAX;
	if (variant->huge) {
		if (read_file(SHMEM_HUGE, huge_before, sizeof(huge_before)) < 0)
			SKIP_REST(return, "no huge pages in this kernel");
		selected = strchr(huge_before, '[');
		ASSERT_NE(NULL, selected);
		*strchr(selected, ']') = 0;
		ASSERT_EQ(0, write_file(SHMEM_HUGE, "advise"));
	}
	note("seed %lu, %d workers on %d processors", (long)random, workers,
	     cpus());

#define FILL() do { \
	for (size_t __i = 0; __i < pages; __i++) \
		poke(self->map + __i * psize, expected(seed, __i)); \
} while (0)
#define MAP_MEMORY() do { \
	ASSERT_EQ(0, region_map(self->fd, 0, size, RW)); \
	if (variant->huge) \
		ASSERT_EQ(0, region_advise(self->fd, 0, size, MADV_HUGEPAGE)); \
	mapped = -1; \
	seed++; \
	FILL(); \
	state = WRITABLE; \
} while (0)

	begin(control);
	MAP_MEMORY();
	end(control, state, seed);
	if (variant->huge) {
		huge = smaps_of(getpid(), self->map, "ShmemPmdMapped", NULL,
				0) > 0;
		EXPECT_TRUE(huge) {
			TH_LOG("memory is not mapped by huge pages");
		}
	}
	ASSERT_EQ(0, start_workers(self, pages, workers));
	let_them_look(control, workers);

	until = now() + by_scale(2, 20);
	while (now() < until || all < by_scale(1, 2) * CHANGES) {
		enum change change = rnd(&random) % CHANGES;
		char *poison = NULL;

		/* What makes no sense as things are is another one. */
		if (state == GONE && region_info(self->fd).mapped == 0)
			change = change % 2 ? MAP_AGAIN : REPLACE_BY_FILE;
		else if (change == MAP_AGAIN)
			change = UNMAP_AND_POISON;
		if ((change == PUNCH || change == TRUNCATE_AND_GROW) &&
		    (mapped == -1 || state == GONE))
			change = PROTECT_WRITE;
		if ((change == REMOVE || change == DROP) &&
		    (mapped != -1 || state == GONE))
			change = PROTECT_WRITE;

		begin(control);
		switch (change) {
		case UNMAP_AND_POISON:
			ASSERT_EQ(0, region_unmap(self->fd, 0, size));
			state = GONE;
			poison = poison_new(size);
			ASSERT_NE(MAP_FAILED, poison);
			break;
		case MAP_AGAIN:
			MAP_MEMORY();
			break;
		case PROTECT_READ:
			ASSERT_EQ(0, region_protect(self->fd, 0, size,
						    PROT_READ));
			state = READABLE;
			break;
		case PROTECT_NONE:
			ASSERT_EQ(0, region_protect(self->fd, 0, size,
						    PROT_NONE));
			state = GONE;
			break;
		case PROTECT_WRITE:
			ASSERT_EQ(0, region_protect(self->fd, 0, size, RW));
			state = WRITABLE;
			break;
		case REPLACE_BY_FILE:
		case REPLACE_BY_OTHER_FILE:
			ASSERT_EQ(0, region_unmap(self->fd, 0, size));
			mapped = change == REPLACE_BY_OTHER_FILE;
			seed++;
			ASSERT_EQ(0, fill_file(self->file[mapped], pages, seed));
			ASSERT_EQ(0, region_map_file(self->fd, 0, size, RW,
						     self->file[mapped], 0));
			state = WRITABLE;
			break;
		case PUNCH:
			ASSERT_EQ(0, fallocate(self->file[mapped],
					       FALLOC_FL_PUNCH_HOLE |
					       FALLOC_FL_KEEP_SIZE, 0, size));
			seed = 0;
			break;
		case TRUNCATE_AND_GROW:
			ASSERT_EQ(0, ftruncate(self->file[mapped], 0));
			ASSERT_EQ(0, ftruncate(self->file[mapped], size));
			seed = 0;
			break;
		case REMOVE:
			ASSERT_EQ(0, region_advise(self->fd, 0, size,
						   MADV_REMOVE));
			seed = 0;
			break;
		case DROP:
			ASSERT_EQ(0, region_advise(self->fd, 0, size,
						   MADV_DONTNEED));
			break;
		case CHANGES:
			break;
		}
		end(control, state, seed);
		changes[change]++;
		all++;
		let_them_look(control, workers);
		/* Seeds are not used twice, whatever came between. */
		if (!seed)
			seed = all << 20;
		if (control->seed == 0 && state != GONE) {
			/* Zeroes have been looked at: now something again. */
			begin(control);
			if (mapped != -1) {
				ASSERT_EQ(0, fill_file(self->file[mapped], pages,
						       seed));
			} else {
				ASSERT_EQ(0, region_protect(self->fd, 0, size,
							    RW));
				state = WRITABLE;
				FILL();
			}
			end(control, state, seed);
			let_them_look(control, workers);
		}
		if (poison) {
			damaged += poison_damaged(poison, size);
			munmap(poison, size);
		}
	}
	end_workers(self);
	if (variant->huge)
		write_file(SHMEM_HUGE, selected + 1);

	c = sum(control, workers);
	note("%lu changes, %lu accesses judged", all, c.stable);
	for (int i = 0; i < CHANGES; i++)
		note("  %s: %lu", change_names[i], changes[i]);
	EXPECT_EQ(0, c.stale_reads);
	EXPECT_EQ(0, c.stale_writes);
	EXPECT_EQ(0, c.wrong_values);
	EXPECT_EQ(0, c.false_faults);
	EXPECT_EQ(0, damaged);
	EXPECT_LE(4 * all * workers, c.stable);
	EXPECT_LE(all, region_info(self->fd).flushes);
}

/*
 * The control: without the flush, it is found. Whatever is reached is in a memfd
 * that stays, and belongs to this test.
 */
TEST_F(stale, found_without_the_flush)
{
	struct control *control = self->control;
	size_t pages = variant->pages < 64 ? variant->pages : 64;
	size_t size = pages * psize;
	int workers = cpus() < 8 ? 2 * cpus() : 8;
	uint64_t seed = 1;
	struct counts c;
	double until;
	unsigned long changes = 0;

	if (variant->huge)
		return;
	debugfs_mount();
	if (access(NO_FLUSH, F_OK))
		SKIP_REST(return, "the kernel has no CONFIG_MSHARE_DEBUG");
	if (cpus() < 2)
		SKIP_REST(return, "one processor: each switch flushes");
	ASSERT_EQ(0, fill_file(self->file[0], pages, seed));
	ASSERT_EQ(0, region_map_file(self->fd, 0, size, RW, self->file[0], 0));
	begin(control);
	end(control, WRITABLE, seed);
	ASSERT_EQ(0, start_workers(self, pages, workers));
	let_them_look(control, workers);

	ASSERT_EQ(0, write_file(NO_FLUSH, "1"));
	until = now() + 300;
	do {
		begin(control);
		ASSERT_EQ(0, region_unmap(self->fd, 0, size));
		end(control, GONE, 0);
		let_them_look(control, workers);
		begin(control);
		ASSERT_EQ(0, region_map_file(self->fd, 0, size, RW,
					     self->file[0], 0));
		end(control, WRITABLE, seed);
		let_them_look(control, workers);
		begin(control);
		ASSERT_EQ(0, region_protect(self->fd, 0, size, PROT_READ));
		end(control, READABLE, seed);
		let_them_look(control, workers);
		begin(control);
		ASSERT_EQ(0, region_protect(self->fd, 0, size, RW));
		end(control, WRITABLE, seed);
		let_them_look(control, workers);
		changes += 4;
		c = sum(control, workers);
	} while ((!c.stale_reads || !c.stale_writes) && now() < until);
	ASSERT_EQ(0, write_file(NO_FLUSH, "0"));
	end_workers(self);
	note("without the flush: %lu stale reads and %lu stale writes of %lu accesses, %lu changes",
	     c.stale_reads, c.stale_writes, c.stable, changes);
	EXPECT_LT(0, c.stale_reads);
	EXPECT_LT(0, c.stale_writes);
	EXPECT_EQ(0, c.wrong_values);
}

/* ---- who is flushed ------------------------------------------------------ */

FIXTURE(flush) {
	struct env env;
	int fd;
	int file;
	size_t size;
};

FIXTURE_SETUP(flush)
{
	ENV_ENTER(&self->env, NULL);
	no_flush("0");
	self->size = 8 * psize;
	self->fd = region_new(self->env.dir, "region", SLOT);
	ASSERT_LE(0, self->fd);
	self->file = memfd_create("file", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(self->file, self->size));
}

FIXTURE_TEARDOWN(flush)
{
	ENV_LEAVE(&self->env);
}

static uint64_t flushes(int fd)
{
	return region_info(fd).flushes;
}

/* Each of them, though none is running. */
TEST_F(flush, every_attacher)
{
	int ks[] = { 1, 2, by_scale(8, 64), by_scale(16, 256) };
	static struct peer idle[256];
	int started = 0;
	uint64_t before;

	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	for (size_t i = 0; i < ARRAY_SIZE(ks); i++) {
		int k = ks[i];
		char *map;

		for (; started < k; started++) {
			long there;

			ASSERT_EQ(0, peer_start(&idle[started]));
			there = peer_call(&idle[started], do_attach, self->fd, 0,
					  RW);
			ASSERT_EQ(0, there % SLOT);
			peer_call(&idle[started], do_fill, there, self->size, 1);
		}
		/* This one fills, and goes again. */
		map = region_attach(self->fd, NULL, RW);
		ASSERT_NE(MAP_FAILED, map);
		fill_pages(map, self->size, 1);
		ASSERT_EQ(0, munmap(map, SLOT));

#define FLUSHED(n, call) do { \
	before = flushes(self->fd); \
	ASSERT_EQ(0, call); \
	EXPECT_LE(before + (n), flushes(self->fd)) { \
		TH_LOG("%d attachers: %s", k, #call); \
	} \
} while (0)

		FLUSHED(k, region_protect(self->fd, 0, self->size, PROT_READ));
		ASSERT_EQ(0, region_protect(self->fd, 0, self->size, RW));
		FLUSHED(k, region_protect(self->fd, 0, psize, PROT_NONE));
		ASSERT_EQ(0, region_protect(self->fd, 0, psize, RW));
		FLUSHED(k, region_advise(self->fd, 0, psize, MADV_DONTNEED));
		FLUSHED(k, region_advise(self->fd, psize, psize, MADV_REMOVE));
		FLUSHED(k, region_unmap(self->fd, 2 * psize, psize));
		FLUSHED(k, region_unmap(self->fd, 0, self->size));

		ASSERT_EQ(0, region_map_file(self->fd, 0, self->size, RW,
					     self->file, 0));
		ASSERT_EQ(0, region_advise(self->fd, 0, self->size,
					   MADV_POPULATE_WRITE));
		FLUSHED(k, fallocate(self->file, FALLOC_FL_PUNCH_HOLE |
				     FALLOC_FL_KEEP_SIZE, 0, psize));
		FLUSHED(k, ftruncate(self->file, psize));
		ASSERT_EQ(0, ftruncate(self->file, self->size));
		ASSERT_EQ(0, region_unmap(self->fd, 0, self->size));
		ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	}
	/* Without a change, nothing. */
	before = flushes(self->fd);
	ASSERT_EQ(SIG(SIGSEGV), peer_call(&idle[0], do_read, 0, 0, 0));
	EXPECT_EQ(before, flushes(self->fd));
}

/* The TLB interrupts that each processor has had. */
static int tlb_interrupts(unsigned long *counts, int n)
{
	static char text[1 << 16];
	char *line, *end;
	int i;

	if (read_file("/proc/interrupts", text, sizeof(text)) < 0)
		return -errno;
	line = strstr(text, "TLB:");
	if (!line)
		return -ENOENT;
	line += 4;
	for (i = 0; i < n; i++) {
		counts[i] = strtoul(line, &end, 10);
		if (end == line)
			break;
		line = end;
	}
	return i;
}

struct spin {
	atomic_int goes;
	atomic_int stop;
};

static long do_spin(long addr, long at, long unused)
{
	struct spin *spin = (struct spin *)at;
	unsigned long n = 0;

	while (!spin->stop) {
		uint64_t value;

		probe_read((void *)addr, &value);
		n++;
		spin->goes = 1;
	}
	return n > 0;
}

/* Processors that have nothing to do with it are left alone. */
TEST_F(flush, interrupts)
{
	unsigned long before[64] = {}, after[64] = {};
	int n = cpus() < 64 ? cpus() : 64;
	struct peer idle[4], busy;
	long rounds = by_scale(200, 1000), there;
	uint64_t flushed;
	struct spin *spin = mmap(NULL, psize, RW, MAP_SHARED | MAP_ANONYMOUS, -1,
				 0);

	ASSERT_NE(MAP_FAILED, spin);
	if (n < 2)
		SKIP_REST(return, "one processor");
	/* From birth on: where it once was, it may be looked for. */
	ASSERT_EQ(0, pin(0));
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, peer_start(&idle[i]));
		there = peer_call(&idle[i], do_attach, self->fd, 0, RW);
		ASSERT_EQ(0, there % SLOT);
		ASSERT_EQ(0, peer_call(&idle[i], do_fill, there, self->size, 1));
	}

	ASSERT_EQ(n, tlb_interrupts(before, n));
	flushed = flushes(self->fd);
	for (long i = 0; i < rounds; i++) {
		ASSERT_EQ(0, region_protect(self->fd, 0, psize, PROT_READ));
		ASSERT_EQ(0, region_protect(self->fd, 0, psize, RW));
	}
	EXPECT_LE(flushed + 4 * rounds, flushes(self->fd));
	ASSERT_EQ(n, tlb_interrupts(after, n));
	for (int i = 0; i < n; i++) {
		/* Others than us have address spaces, too: a few. */
		EXPECT_GE(rounds / 20, after[i] - before[i]) {
			TH_LOG("processor %d: %lu interrupts", i,
			       after[i] - before[i]);
		}
	}
	note("4 idle attachers, %ld changes, %lu flushes: %lu TLB interrupts at processor 1",
	     rounds, (long)(flushes(self->fd) - flushed), after[1] - before[1]);

	/* The control: one that runs on another processor is interrupted. */
	ASSERT_EQ(0, peer_start(&busy));
	there = peer_call(&busy, do_attach, self->fd, 0, RW);
	ASSERT_EQ(0, there % SLOT);
	ASSERT_EQ(0, peer_call(&busy, do_pin, 1, 0, 0));
	peer_send(&busy, do_spin, there, (long)spin, 0);
	/* The changes may be over before another processor has woken up. */
	while (!spin->goes)
		usleep(1000);
	ASSERT_EQ(n, tlb_interrupts(before, n));
	for (long i = 0; i < rounds; i++) {
		ASSERT_EQ(0, region_protect(self->fd, 0, psize, PROT_READ));
		ASSERT_EQ(0, region_protect(self->fd, 0, psize, RW));
	}
	ASSERT_EQ(n, tlb_interrupts(after, n));
	spin->stop = 1;
	EXPECT_EQ(1, peer_wait(&busy));
	note("one more on processor 1: %lu", after[1] - before[1]);
	EXPECT_LE(rounds / 4, after[1] - before[1]);
}

/* Detaching flushes oneself, and nobody else. */
TEST_F(flush, not_by_detaching)
{
	struct peer peer;
	uint64_t before;
	char *map = region_attach(self->fd, NULL, RW);

	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, region_map(self->fd, 0, self->size, RW));
	fill_pages(map, self->size, 1);
	before = flushes(self->fd);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, peer_start(&peer));
		ASSERT_EQ(0, peer_call(&peer, do_check, (long)map, self->size,
				       1));
		if (i % 2)
			ASSERT_EQ(0, peer_call(&peer, do_detach, (long)map, SLOT,
					       0));
		ASSERT_EQ(0, peer_stop(&peer));
	}
	EXPECT_EQ(before, flushes(self->fd));
}

TEST_HARNESS_MAIN
