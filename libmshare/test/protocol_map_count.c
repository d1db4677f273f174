/* SPDX-License-Identifier: MIT */
/*
 * The protocol: a follower that reaches vm.max_map_count cannot follow. It gives
 * up its window, never stale, and says ENOMEM; the change and the others are
 * unhurt.
 */
#include "party_util.h"

static const char *name;
static long limit;

static int crowded(void *arg)
{
	size_t P = page(), size = (size_t)limit * 2 * P;
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);

	(void)arg;
	must(w != MAP_FAILED && load(w, NULL) == 0);
	char *ballast = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);

	must(ballast != MAP_FAILED);
	/* Each second page is another mapping, until there are no more. */
	size_t i = 0;

	while (i < (size_t)limit && mprotect(ballast + 2 * i * P, P, PROT_READ) == 0)
		i++;
	must(i < (size_t)limit && errno == ENOMEM);
	/* The last ones singly. */
	while (mprotect(ballast + size - P * (1 + i % 2), P, PROT_READ) == 0 && i % 2 == 0)
		i++;
	party_report(0);
	check(load(w, NULL) == SIGSEGV && load(w + 9 * P, NULL) == SIGSEGV,
	      "the window is inaccessible");
	/* The sanitizers cannot go on without memory. */
	must(munmap(ballast, size) == 0);
	struct mshare_info info = {.window = 0};

	for (int tries = 0; tries < 20000; tries++) {
		must(mshare_info(fd, &info, sizeof(info)) == 0);
		if (info.attachment_errno)
			break;
		usleep(1000);
	}
	check(info.attachment_errno == ENOMEM, "mshare_info says ENOMEM (%d)",
	      info.attachment_errno);
	check(load(w, NULL) == SIGSEGV, "for good");
	check(mshare_detach(w) == 0, "detach");
	check(mshare_attach(fd, NULL, RW, 0) == w && load(w, NULL) == 0 &&
		      load(w + 9 * P, NULL) == 0,
	      "attached anew it is well");
	party_report(0);
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (TEST_TSAN)
		skip_all("ThreadSanitizer ends when it cannot map its shadow");
	size_t P = page();
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");

	if (!f || fscanf(f, "%ld", &limit) != 1)
		skip_all("cannot read vm.max_map_count");
	fclose(f);
	if (limit > 1000000)
		skip_all("vm.max_map_count is %ld, which takes too long to reach", limit);
	name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	struct party p = party_start(crowded, NULL);
	struct peer other = peer_exec();
	int there = p_open(&other, name, O_RDWR, 0);
	char *w = p_attach(&other, there, NULL, RW, 0);

	must(w != MAP_FAILED && party_await(&p) == 0);
	/* In the middle of nowhere: that takes two mappings more. */
	bool done_all = true;

	for (size_t i = 0; i < 64; i++)
		done_all &= mshare_map(fd, (9 + 2 * i) * P, P, i % 2 ? RW : PROT_READ, 0, -1, 0) ==
			    0;
	check(done_all, "changes go on while one cannot follow");
	check(p_load(&other, w + 9 * P, NULL) == 0 && p_load(&other, w + 135 * P, NULL) == 0,
	      "and reach the others");
	struct mshare_info info = info_of(fd);

	check(info.attachments == 1 && info.stragglers == 0, "the crowded one is out");
	check_eq(party_next(&p, 0), 0, "it has given up its window, and knows why");
	check_eq(info_of(fd).attachments, 2, "and is back");
	party_go(&p, 0);
	check(exited(party_end(&p), 0) && p_end(&other), "they end well");
	return done();
}
