/* SPDX-License-Identifier: MIT */
/* For the programs that use the test points of src/test_points.c. */
#ifndef MSHARE_TEST_KILL_UTIL_H
#define MSHARE_TEST_KILL_UTIL_H

#include "map_util.h"
#include "party_util.h"

static inline void need_test_points(void)
{
#ifndef MSHARE_TEST_POINTS
	skip_all("test points are only in VARIANT=asan and VARIANT=tsan builds");
#endif
}

/* The contents before, and one change of each kind. */
#define PAGES 24 /* that are looked at */

enum operation { MAP, UNMAP, PROTECT, OPERATIONS };

static const char *const operation_names[] = {"map", "unmap", "protect"};

static inline int operate(int fd, enum operation op)
{
	size_t P = page();

	switch (op) {
	case MAP:
		return mshare_map(fd, 16 * P, 4 * P, RW, 0, -1, 0);
	case UNMAP:
		return mshare_unmap(fd, 2 * P, 8 * P);
	default:
		return mshare_protect(fd, P, 2 * P, PROT_READ);
	}
}

/* What the pages are before (op == OPERATIONS) and after: 'r', 'w' or '-'. */
static inline const char *expected_pages(enum operation op)
{
	static const char *const pages[] = {
		"wwww----wwww----wwww----",
		"ww--------ww------------",
		"wrrw----wwww------------",
		"wwww----wwww------------",
	};

	return pages[op];
}

/* Page i has this in it, if it was mapped before. */
static inline uint64_t mark_of(size_t i)
{
	return 0x1000 + i;
}

/*
 * The pages as this process's window shows them, by touching them. '?': what is
 * there has neither its mark nor, where a map has put a new one, zeros.
 */
static inline void probe_pages(char *w, char *pages)
{
	for (size_t i = 0; i < PAGES; i++) {
		volatile uint64_t *word = at(w, i * page());
		uint64_t value = 0;

		if (load(word, &value) != 0)
			pages[i] = '-';
		else if (value != (i >= 16 ? 0 : mark_of(i)))
			pages[i] = '?';
		else
			pages[i] = store(word, value) == 0 ? 'w' : 'r';
	}
	pages[PAGES] = 0;
}

/* The pages as the table has them. */
static inline void table_pages(int fd, char *pages)
{
	struct mshare_mapping list[PAGES];
	size_t count = PAGES;

	must(mshare_mappings(fd, list, sizeof(list[0]), &count) == 0);
	memset(pages, '-', PAGES);
	pages[PAGES] = 0;
	for (size_t i = 0; i < count; i++)
		for (size_t at = list[i].offset / page();
		     at < (list[i].offset + list[i].length) / page() && at < PAGES; at++)
			pages[at] = list[i].prot & PROT_WRITE ? 'w' : 'r';
}

/* A region as it is before, all settled. Whoever is attached follows. */
static inline void contents_reset(int fd)
{
	size_t P = page();

	must(mshare_unmap(fd, 0, GIB) == 0);
	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 8 * P, 4 * P, RW, 0, -1, 0) == 0);
	/* Written through the file, so that this process need not be attached. */
	for (size_t i = 0; i < 12; i++) {
		uint64_t mark = mark_of(i);

		if (i < 4 || i >= 8)
			must(pwrite(fd, &mark, sizeof(mark), (off_t)(GIB + i * P)) == sizeof(mark));
	}
}

/* Commands of an attached party. */
enum { SHOW = 1, QUIT, POINT, DROP };

struct watcher {
	struct party party;
	char *shown; /* shared: its pages, as probed */
};

/* Attach, and show what the window is whenever asked. */
static inline int watch(void *arg)
{
	struct watcher *self = arg;
	int fd = mshare_open(getenv("WATCHED"), O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	for (;;) {
		switch (party_report(info_of(fd).attachment_errno)) {
		case SHOW:
			probe_pages(w, self->shown);
			break;
		case DROP:
			must(mshare_detach(w) == 0);
			w = mshare_attach(fd, NULL, RW, 0);
			must(w != MAP_FAILED);
			break;
		default:
			return 0;
		}
	}
}

static inline struct watcher watcher_start(const char *name)
{
	struct watcher watcher = {.shown = mmap(NULL, page(), PROT_READ | PROT_WRITE,
						MAP_SHARED | MAP_ANONYMOUS, -1, 0)};

	must(watcher.shown != MAP_FAILED);
	must(setenv("WATCHED", name, 1) == 0);
	watcher.party = party_start(watch, &watcher);
	must(party_await(&watcher.party) == 0);
	return watcher;
}

/* What it shows, and *err: what it was given up for. */
static inline const char *watcher_show(struct watcher *watcher, int *err)
{
	int64_t answer = party_next(&watcher->party, SHOW);

	must(answer != INT64_MIN);
	if (err)
		*err = (int)answer;
	return watcher->shown;
}

static inline void watcher_end(struct watcher *watcher)
{
	party_go(&watcher->party, QUIT);
	must(exited(party_end(&watcher->party), 0));
	munmap(watcher->shown, page());
}

static const char *const modifier_points[] = {
	"map-intent", "map-allocated", "table-half", "table-written", "published",
	"draining",   "drained",       "punched",    "settled",
};
#define MODIFIER_POINTS (sizeof(modifier_points) / sizeof(modifier_points[0]))

static inline bool before_publishing(const char *point)
{
	return !strcmp(point, "map-intent") || !strcmp(point, "map-allocated") ||
	       !strcmp(point, "table-half") || !strcmp(point, "table-written");
}

/* Whether the operation comes by. */
static inline bool passes(enum operation op, const char *point)
{
	if (!strcmp(point, "map-intent"))
		return op != PROTECT;
	return op == MAP || strcmp(point, "map-allocated") != 0;
}

/* One that makes the change with a variable set, being attached itself or not. */
struct modifier {
	const char *name, *variable, *value;
	enum operation op;
	bool attached;
};

static inline int modify(void *arg)
{
	struct modifier *m = arg;
	int fd = mshare_open(m->name, O_RDWR, 0);

	must(fd >= 0);
	if (m->attached)
		must(mshare_attach(fd, NULL, RW, 0) != MAP_FAILED);
	mshare_set_timeout(30000);
	must(setenv(m->variable, m->value, 1) == 0);
	errno = 0;
	int result = operate(fd, m->op);
	int err = errno;

	unsetenv(m->variable);
	party_report(result == 0 ? 0 : err);
	return 0;
}

#endif
