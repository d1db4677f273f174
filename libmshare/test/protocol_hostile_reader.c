/* SPDX-License-Identifier: MIT */
/*
 * The protocol: read permission is the power to stall changes, and no more. A
 * process with an O_RDONLY descriptor that waits on the region's words in an odd
 * way (FUTEX_WAIT_REQUEUE_PI, which makes every wake fail), that moves those who
 * sleep there to a word of its own (FUTEX_CMP_REQUEUE), that read-locks all rows.
 */
#include "party_util.h"

#include <linux/futex.h>

/* Where a region's file has its futex words, and its rows. */
#define WORDS 64
#define ROWS (1 << 20)

static const char *name;
static const char *const word_names[] = {"GENERATION", "DRAIN", "MODIFIER"};

/* The hostile one's view: it may read, no more. */
static uint32_t *words_of(int fd)
{
	char *control = mmap(NULL, page(), PROT_READ, MAP_SHARED, fd, 0);

	must(control != MAP_FAILED);
	return (uint32_t *)(control + WORDS);
}

static uint32_t *word_own(void)
{
	uint32_t *word = mmap(NULL, page(), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(word != MAP_FAILED);
	return word;
}

static uint32_t word_value(int fd, int word)
{
	uint32_t value;

	must(pread(fd, &value, sizeof(value), WORDS + word * 4) == sizeof(value));
	return value;
}

static int sitter(void *arg)
{
	int word = *(int *)arg, fd = mshare_open(name, O_RDONLY, 0);

	must(fd >= 0);
	uint32_t *words = words_of(fd), *own = word_own(), value = word_value(fd, word);

	/* It does not sleep between this and the futex. */
	party_say(party_sock, 0);
	long r = syscall(SYS_futex, &words[word], FUTEX_WAIT_REQUEUE_PI, value, NULL, own, 0);

	note("woken from %s: %ld, errno %d", word_names[word], r, errno);
	pause();
	return 0;
}

static struct party sitter_start(int word)
{
	struct party p = party_start(sitter, &word);

	must(party_await(&p) == 0);
	must(falls_asleep(p.pid));
	return p;
}

/* With somebody on the word before, or after, the service threads sleep there. */
static void sat_on(int fd, int word, bool first)
{
	const char *what = word_names[word], *when = first ? "before" : "after";
	size_t P = page();
	struct peer other = peer_exec();
	int there = p_open(&other, name, O_RDWR, 0);
	struct party s = {-1, -1};
	char *w;

	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	if (first)
		s = sitter_start(word);
	must(p_attach(&other, there, NULL, RW, 0) != MAP_FAILED);
	w = (char *)(uintptr_t)info_of(fd).base;
	if (!first)
		s = sitter_start(word);
	must(mshare_attach(fd, NULL, RW, 0) == w);
	must(store(w, 0x5ec2e7) == 0);

	uint64_t before = info_of(fd).generation, begin = now_ms();
	int r = mshare_unmap(fd, 0, P);

	check(r == 0, "a sitter on %s from %s: unmap (errno %d: %s)", what, when, r ? errno : 0,
	      r ? mshare_errmsg() : "");
	note("unmap took %d ms", (int)(now_ms() - begin));
	check(info_of(fd).generation == before + 1 && info_of(fd).stragglers == 0,
	      "one generation further, and nobody is left behind");
	check(load(w, NULL) == SIGSEGV && p_load(&other, w, NULL) == SIGSEGV,
	      "what was unmapped is gone everywhere");
	check(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0, "the next map");
	uint64_t here = 1, away = 1;

	check(load(w, &here) == 0 && here == 0 && p_load(&other, w, &away) == 0 && away == 0,
	      "reads as zero everywhere");
	check(p_map(&other, there, 4 * P, P, RW, 0) == 0 && store(w + 4 * P, 1) == 0,
	      "and another process can change");
	party_kill(&s);
	check(mshare_detach(w) == 0 && p_detach(&other, w) == 0 && p_end(&other), "all detach");
	check(mshare_unmap(fd, 0, GIB) == 0 && settles(fd, 0, 0), "nobody is left");
}

/* Moves whoever sleeps on GENERATION, until it has moved two, each time it is told. */
static int mover(void *arg)
{
	int fd = mshare_open(name, O_RDONLY, 0);

	(void)arg;
	must(fd >= 0);
	uint32_t *words = words_of(fd), *own = word_own();

	for (;;) {
		uint64_t end = now_ms() + 20000;
		long moved = 0;

		party_report(0);
		while (moved < 2 && now_ms() < end) {
			long r = syscall(SYS_futex, words, FUTEX_CMP_REQUEUE, 0,
					 (void *)(uintptr_t)INT_MAX, own, word_value(fd, 0));

			must(r >= 0 || errno == EAGAIN);
			moved += r > 0 ? r : 0;
			usleep(1000);
		}
		party_report(moved);
	}
}

static void moved_away(int fd)
{
	size_t P = page();
	struct peer other = peer_exec();
	struct party m = party_start(mover, NULL);
	int there = p_open(&other, name, O_RDWR, 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(party_await(&m) == 0);
	must(w != MAP_FAILED && p_attach(&other, there, NULL, RW, 0) == w);
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 && store(w, 1) == 0);

	check(party_next(&m, 0) >= 2, "a reader moves the sleepers to a word of its own");
	uint64_t begin = now_ms();

	check(mshare_unmap(fd, 0, P) == 0, "moved: a change reaches them all the same");
	note("unmap took %d ms", (int)(now_ms() - begin));
	check(load(w, NULL) == SIGSEGV && p_load(&other, w, NULL) == SIGSEGV,
	      "what was unmapped is gone everywhere");
	must(party_next(&m, 0) == 0);
	check(party_next(&m, 0) >= 2, "moved once more");
	begin = now_ms();
	check(mshare_detach(w) == 0, "moved: detach returns");
	check(p_detach(&other, w) == 0, "in the other process, too");
	note("both took %d ms", (int)(now_ms() - begin));
	party_kill(&m);
	check(p_end(&other) && settles(fd, 0, 0), "nobody is left");
}

static int locker(void *arg)
{
	int fd = mshare_open(name, O_RDONLY, 0);
	struct flock rows = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = ROWS};

	(void)arg;
	must(fd >= 0 && party_report(0) == 0);
	must(fcntl(fd, F_OFD_SETLK, &rows) == 0);
	party_report(0);
	return 0;
}

static int child_errno(void *arg)
{
	return (int)info_of(*(int *)arg).attachment_errno;
}

static void all_rows_locked(int fd)
{
	size_t P = page();
	struct party r = party_start(locker, NULL);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 && store(w, 1) == 0);
	must(party_await(&r) == 0 && party_next(&r, 0) == 0);
	mshare_set_timeout(300);
	uint64_t begin = now_ms();

	check_error(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE), EBUSY,
		    "a reader has locked all rows: attach");
	check(now_ms() - begin >= 299, "after the limit and not before");
	check(exited(in_child(child_errno, &fd), EBUSY), "a child of fork(): attachment_errno");
	check_error(mshare_unmap(fd, 0, P), ETIMEDOUT, "a change: published");
	check_error(mshare_map(fd, 0, P, RW, 0, -1, 0), EBUSY, "the next one: not begun");
	mshare_set_timeout(10000);
	party_kill(&r);
	check(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0 && value_at(w) == 0,
	      "killed: changes go on, and the memory is zero");
	char *second = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	check(second != MAP_FAILED && mshare_detach(second) == 0, "and attach");
	check(mshare_detach(w) == 0 && settles(fd, 0, 0), "nobody is left");
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	name = unique("region");
	int fd = region_new(name, GIB);

	for (int word = 0; word < 3; word++)
		for (int first = 0; first < 2; first++)
			sat_on(fd, word, first);
	moved_away(fd);
	all_rows_locked(fd);
	return done();
}
