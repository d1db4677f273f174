/* SPDX-License-Identifier: MIT */
/*
 * 10,000 mappings: attach works, changes work; beyond 16,384: E2BIG, and
 * nothing has changed. (Rule 2; attach is O(mappings).)
 *
 * The regions are made by mshare(), which takes over what is mapped in one go:
 * to map one after the other would write 16,384 tables.
 */
#include "test.h"

#define MOST 16384

static size_t P;

/* A region whose every second page is mapped, n of them, attached at its base. */
static char *region_of(const char *name, size_t n)
{
	int probe = region_new(NULL, GIB);
	char *w = (char *)(uintptr_t)info_of(probe).base;

	close(probe);
	for (size_t i = 0; i < n; i++)
		must(mmap(w + 2 * i * P, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			  -1, 0) == w + 2 * i * P);
	must(mshare(name, w, GIB, O_RDWR | O_CREAT | O_EXCL, 0600) == 0);
	return w;
}

static void ten_thousand(void)
{
	const char *name = unique("many");
	uint64_t start = now_ms();
	char *w = region_of(name, 10000);
	int fd = mshare_open(name, O_RDWR, 0);

	must(fd >= 0);
	check(info_of(fd).mappings == 10000, "10,000 mappings, %" PRIu64 " ms", now_ms() - start);
	start = now_ms();
	struct peer p = peer_fork(), q = peer_unrelated();
	int there = p_open(&q, name, O_RDWR, 0);

	check(p_attach(&q, there, NULL, RW, 0) == w && p_load(&p, w, NULL) == 0 &&
		      info_of(fd).attachments == 3,
	      "inherited, and attached by another process, %" PRIu64 " ms", now_ms() - start);
	bool right = true;

	for (size_t i = 0; i < 10000; i += 97)
		right = right && store(w + 2 * i * P, i) == 0 &&
			load(w + (2 * i + 1) * P, NULL) == SIGSEGV &&
			p_load(&p, w + 2 * i * P, NULL) == 0 &&
			p_load(&q, w + 2 * i * P, NULL) == 0 &&
			p_load(&q, w + (2 * i + 1) * P, NULL) == SIGSEGV;
	check(right, "rule 3: each is where it should be, in all of them");
	check(mshare_protect(fd, 5000 * 2 * P, P, PROT_READ) == 0 &&
		      p_store(&q, w + 5000 * 2 * P, 1) == SIGSEGV &&
		      p_store(&p, w + 4999 * 2 * P, 1) == 0,
	      "rule 3: a protect among them");
	check(mshare_map(fd, 3001 * P, P, RW, 0, -1, 0) == 0 && p_store(&q, w + 3001 * P, 1) == 0 &&
		      info_of(fd).mappings == 9999,
	      "rule 3: a map between two of them");
	check(mshare_unmap(fd, 3000 * P, 2 * P) == 0 && p_load(&q, w + 3000 * P, NULL) == SIGSEGV &&
		      p_load(&p, w + 3001 * P, NULL) == SIGSEGV &&
		      p_load(&q, w + 3002 * P, NULL) == 0,
	      "rule 3: an unmap of a part of that");
	struct mshare_mapping *m = calloc(MOST, sizeof(*m));
	size_t count = MOST;

	must(m);
	right = mshare_mappings(fd, m, sizeof(*m), &count) == 0 && count == 9999;
	for (size_t i = 1; right && i < count; i++)
		right = m[i].length == P && m[i].offset > m[i - 1].offset;
	check(right, "all are listed");
	free(m);
	check(p_end(&p) && p_end(&q) && mshare_detach(w) == 0, "detach");
	start = now_ms();
	check(mshare_attach(fd, NULL, RW, 0) == w, "attached anew, %" PRIu64 " ms",
	      now_ms() - start);
	check(mshare_unmap(fd, 0, GIB) == 0 && load(w, NULL) == SIGSEGV && info_of(fd).mapped == 0,
	      "all unmapped at once");
	check(mshare_detach(w) == 0, "detach");
	close(fd);
}

static void most(void)
{
	const char *name = unique("most");
	size_t n = MOST;
	char *w = region_of(name, n);
	int fd = mshare_open(name, O_RDWR, 0);

	must(fd >= 0);
	check(info_of(fd).mappings == MOST, "16,384 mappings");
	uint64_t generation = info_of(fd).generation;

	check_error(mshare_map(fd, 2 * n * P, P, RW, 0, -1, 0), E2BIG, "one more: E2BIG");
	check(strstr(mshare_errmsg(), "16384") || strstr(mshare_errmsg(), "16,384"),
	      "with the number (%s)", mshare_errmsg());
	check(info_of(fd).mappings == MOST && info_of(fd).generation == generation &&
		      info_of(fd).mapped == MOST * P && load(w + 2 * n * P, NULL) == SIGSEGV,
	      "rule 2: and nothing has changed");
	check(mshare_map(fd, P, P, RW, 0, -1, 0) == 0 && info_of(fd).mappings == MOST - 1,
	      "one that joins two makes it one less");
	must(mshare_map(fd, 2 * n * P, P, RW, 0, -1, 0) == 0);
	check_error(mshare_unmap(fd, P, P), E2BIG,
		    "unmap in the middle, with no entry left: E2BIG");
	check_error(mshare_protect(fd, P, P, PROT_READ), E2BIG, "and so protect");
	check(info_of(fd).mappings == MOST && store(w + P, 1) == 0, "rule 2: nothing has changed");
	check(mshare_unmap(fd, 0, 3 * P) == 0 && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0,
	      "with room again it goes on");
	check(mshare_detach(w) == 0, "detach");
	close(fd);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	ten_thousand();
	most();
	return done();
}
