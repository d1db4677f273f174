/* SPDX-License-Identifier: MIT */
/*
 * mshare() that fails, at whatever point: the caller's mappings, protections and
 * bytes are as they were, and no name, attachment or descriptor is left.
 */
#include "kill_util.h"

#define WINDOW (2 * GIB)
#define LINES 64

struct picture {
	char lines[LINES][128];
	int count;
	uint64_t sum;
	long fds;
};

static const struct {
	size_t offset, length;
	int prot;
} segments[] = {
	{0, 64 << 10, RW},
	{64 << 10, 64 << 10, PROT_READ},
	{1 << 20, 128 << 10, PROT_NONE},
	{512 << 20, 256 << 10, RW},
	{1 << 30, 32 << 10, PROT_READ | PROT_EXEC},
	{(2UL << 30) - (64 << 10), 64 << 10, RW},
};
#define SEGMENTS (sizeof(segments) / sizeof(segments[0]))

static char *memory_new(void)
{
	char *base = mmap(NULL, WINDOW + GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(base != MAP_FAILED);
	munmap(base, WINDOW + GIB);
	base = (char *)(((uintptr_t)base + GIB - 1) / GIB * GIB);
	for (size_t i = 0; i < SEGMENTS; i++) {
		char *at = base + segments[i].offset;

		must(mmap(at, segments[i].length, RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at);
		/* Every other page is touched. */
		for (size_t j = 0; j < segments[i].length; j += 2 * page())
			must(store(at + j, 0x5555 + segments[i].offset + j) == 0);
		must(mprotect(at, segments[i].length, segments[i].prot) == 0);
	}
	return base;
}

/* What is mapped in the range; its bytes too, which of a window would allocate the holes. */
static void picture_take(char *base, bool bytes, struct picture *picture)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	unsigned long long from, to;
	char line[512], *buffer = malloc(page());

	must(maps && memory >= 0 && buffer);
	memset(picture, 0, sizeof(*picture));
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%llx-%llx", &from, &to) != 2 || to <= (uintptr_t)base ||
		    from >= (uintptr_t)base + WINDOW)
			continue;
		must(picture->count < LINES);
		snprintf(picture->lines[picture->count++], 128, "%.120s", line);
		for (; bytes && from < to; from += page()) {
			must(pread(memory, buffer, page(), (off_t)from) == (ssize_t)page());
			for (size_t i = 0; i < page(); i += 64)
				picture->sum = picture->sum * 1000003 + (uint64_t)buffer[i] + from;
		}
	}
	free(buffer);
	close(memory);
	fclose(maps);
	picture->fds = 0;
	for (int fd = 0; fd < 256; fd++)
		picture->fds += fcntl(fd, F_GETFD) != -1;
}

static bool picture_same(const struct picture *a, const struct picture *b)
{
	bool same = a->count == b->count && a->sum == b->sum && a->fds == b->fds;

	for (int i = 0; same && i < a->count; i++)
		same = !strcmp(a->lines[i], b->lines[i]);
	if (!same) {
		note("sum %" PRIx64 " and %" PRIx64 ", descriptors %ld and %ld", a->sum, b->sum,
		     a->fds, b->fds);
		for (int i = 0; i < a->count; i++)
			note("before: %.100s", a->lines[i]);
		for (int i = 0; i < b->count; i++)
			note("after:  %.100s", b->lines[i]);
	}
	return same;
}

static const char *name;

/* In a child: passages are counted once in a process. */
static int fail_at(void *arg)
{
	const char *point = arg;
	struct picture before, after;
	char value[64];
	char *base = memory_new();

	alarm(120);
	picture_take(base, true, &before);
	snprintf(value, sizeof(value), "%s=%d", point, EIO);
	must(setenv("MSHARE_TEST_FAIL", value, 1) == 0);
	errno = 0;
	int result = mshare(name, base, WINDOW, O_RDWR | O_CREAT | O_EXCL, 0600);
	int err = errno;

	unsetenv("MSHARE_TEST_FAIL");
	if (result != -1 || err != EIO || mshare_errno() != EIO) {
		note("%s: %d, errno %d, %s", point, result, err, mshare_errmsg());
		return 1;
	}
	picture_take(base, true, &after);
	if (!picture_same(&before, &after))
		return 2;
	/* They are the caller's own again: written without anybody's leave. */
	if (store(base, 77) != 0 || store(base + (64 << 10), 1) != SIGSEGV ||
	    load(base + (1 << 20), NULL) != SIGSEGV || load(base + (4 << 20), NULL) != SIGSEGV)
		return 3;
	if (mshare_open(name, O_RDWR, 0) != -1 || errno != ENOENT)
		return 4;
	must(store(base, 0x5555) == 0);
	/* And now it works. */
	if (mshare(name, base, WINDOW, O_RDWR | O_CREAT | O_EXCL, 0600) != 0) {
		note("%s: then: %s", point, mshare_errmsg());
		return 5;
	}
	picture_take(base, false, &after);
	if (after.fds != before.fds + 1) /* the attachment's, for fork() */
		return 6;
	for (size_t i = 0; i < SEGMENTS; i++) {
		char *at = base + segments[i].offset;

		for (size_t j = 0; j < segments[i].length; j += page()) {
			uint64_t got = 0,
				 want = j % (2 * page()) ? 0 : 0x5555 + segments[i].offset + j;
			int sig = load(at + j, &got);

			if (sig != (segments[i].prot == PROT_NONE ? SIGSEGV : 0) ||
			    (!sig && got != want)) {
				note("segment %zu + %#zx: signal %d, %#" PRIx64, i, j, sig, got);
				return 7;
			}
		}
	}
	int fd = mshare_open(name, O_RDWR, 0);
	struct mshare_info info = info_of(fd);

	if (info.mappings != SEGMENTS || info.attachments != 1 || info.base != (uintptr_t)base ||
	    info.window != WINDOW)
		return 8;
	/* It is shared now. */
	if (mshare_protect(fd, 64 << 10, 64 << 10, RW) != 0 || store(base + (64 << 10), 1) != 0)
		return 9;
	if (mshare_unlink(name) != 0 || mshare_detach(base) != 0)
		return 10;
	picture_take(base, false, &after);
	return after.count == 0 ? 0 : 11;
}

int main(int argc, char **argv)
{
	static const char *const points[] = {
		"reserve-sized",   "reserve-header", "map-allocated", "map-allocated:3",
		"map-allocated:6", "table-half",     "table-written", "published",
		"draining",        "drained",        "punched",       "settled",
		"join-locked",     "adopt-holes",    "adopt-holes:2", "adopt-holes:4",
		"adopt-mid",       "adopt-mid:2",    "adopt-mid:4",   "adopt-mid:6",
		"join-view",       "join-row",
	};

	begin(argc, argv);
	need_test_points();
	name = unique("region");
	probe_prepare();
	for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
		int status = in_child(fail_at, (void *)(uintptr_t)points[i]);

		check(exited(status, 0), "mshare() failing at %s (status %#x)", points[i], status);
		mshare_unlink(name);
	}
	return done();
}
