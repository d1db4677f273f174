/* SPDX-License-Identifier: MIT */
/*
 * Limits: an attacher whose RLIMIT_AS has shrunk below what it has. It
 * follows or gives up its window, never stale, and holds up nobody.
 */
#include "party_util.h"

static const char *name;

/* What the region is after the changes of main(). */
static bool as_published(char *w)
{
	size_t P = page();

	return load(w, NULL) == SIGSEGV && load(w + 8 * P, NULL) == 0 &&
	       load(w + 32 * MIB, NULL) == SIGSEGV && load(w + 64 * MIB, NULL) == 0 &&
	       store(w + 64 * MIB, 1) == SIGSEGV;
}

static int limited(void *arg)
{
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);
	struct rlimit before, small = {MIB, RLIM_INFINITY};

	(void)arg;
	must(w != MAP_FAILED && load(w, NULL) == 0);
	must(getrlimit(RLIMIT_AS, &before) == 0);
	small.rlim_max = before.rlim_max;
	must(setrlimit(RLIMIT_AS, &small) == 0);
	void *nothing = mmap(NULL, MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(nothing == MAP_FAILED && errno == ENOMEM);
	party_report(0);
	must(setrlimit(RLIMIT_AS, &before) == 0);
	struct mshare_info info = info_of(fd);

	if (info.attachment_errno) {
		check(info.attachment_errno == ENOMEM, "given up for ENOMEM");
		check(load(w, NULL) == SIGSEGV && load(w + 8 * page(), NULL) == SIGSEGV &&
			      load(w + 64 * MIB, NULL) == SIGSEGV,
		      "given up is inaccessible");
	} else {
		check(as_published(w), "it has followed");
	}
	check(mshare_detach(w) == 0 && mshare_attach(fd, NULL, RW, 0) == w && as_published(w),
	      "attached anew it is well");
	party_report(info.attachment_errno);
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (TEST_ASAN || TEST_TSAN)
		skip_all("the sanitizers end when they cannot map memory");
	size_t P = page();

	name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 32 * MIB, 16 * MIB, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0);
	struct party p = party_start(limited, NULL);
	struct peer other = peer_exec();
	int there = p_open(&other, name, O_RDWR, 0);
	char *w = p_attach(&other, there, NULL, RW, 0);

	must(w != MAP_FAILED && party_await(&p) == 0);
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0, "map");
	check(mshare_unmap(fd, 0, P) == 0, "unmap");
	check(mshare_unmap(fd, 32 * MIB, 16 * MIB) == 0, "unmap of what is mapped anew");
	check(mshare_map(fd, 64 * MIB, 16 * MIB, RW, 0, -1, 0) == 0, "a large map");
	check(mshare_protect(fd, 64 * MIB, 16 * MIB, PROT_READ) == 0, "protect");
	check(p_load(&other, w + 8 * P, NULL) == 0 && p_load(&other, w, NULL) == SIGSEGV,
	      "the others are unhurt");
	check_eq(info_of(fd).stragglers, 0, "nobody is behind");
	int64_t how = party_next(&p, 0);

	check(how >= 0, "the limited one %s", how ? "gave up, and knows why" : "followed");
	party_go(&p, 0);
	check(exited(party_end(&p), 0) && p_end(&other), "they end well");
	return done();
}
