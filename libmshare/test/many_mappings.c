/* SPDX-License-Identifier: MIT */
/*
 * 10,000 mappings: attach works, changes work; beyond what a region can have, on
 * shm 16,384 and on msharefs vm.max_map_count: E2BIG, and nothing has changed.
 * (Rule 2; on shm attach is O(mappings).)
 */
#include "test.h"

/* The sanitizers' builds are slow with large tables: half a minute for all of them. */
#define MANY (TEST_ASAN || TEST_TSAN ? 6000 : 10000)

static size_t P;

static size_t most_mappings(void)
{
	FILE *f = on_shm() ? NULL : fopen("/proc/sys/vm/max_map_count", "re");
	size_t most = 16384;

	if (f) {
		must(fscanf(f, "%zu", &most) == 1);
		fclose(f);
	}
	return most;
}

/*
 * Every other page of one large mapping gets another protection: each change
 * makes two entries, which takes half as many changes as to map them.
 */
static bool split(int fd, size_t from, size_t to)
{
	for (size_t n = from; n < to; n += 2)
		if (mshare_protect(fd, (n + 1) * P, P, PROT_READ) != 0)
			return false;
	return true;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	uint64_t start = now_ms();

	P = page();
	/* The whole of it, so that the last entry is what is left behind the splits. */
	must(mshare_map(fd, 0, GIB, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0);
	/* n changes: page 1, 3, 5 … read-only; 2n + 1 entries. */
	check(split(fd, 0, MANY) && info_of(fd).mappings == MANY + 1, "%d mappings, %" PRIu64 " ms",
	      MANY, now_ms() - start);
	start = now_ms();
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED, "attached, %" PRIu64 " ms", now_ms() - start);
	start = now_ms();
	struct peer p = peer_fork(), q = peer_unrelated();
	int there = p_open(&q, name, O_RDWR, 0);

	check(p_attach(&q, there, NULL, RW, 0) == w && p_load(&p, w, NULL) == 0 &&
		      info_of(fd).attachments == 3,
	      "inherited, and attached by another process, %" PRIu64 " ms", now_ms() - start);
	bool right = true;

	for (size_t i = 0; i < MANY; i += 97) {
		int want = i % 2 ? SIGSEGV : 0;

		right = right && store(w + i * P, i) == want && p_store(&p, w + i * P, i) == want &&
			p_store(&q, w + i * P, i) == want && p_load(&q, w + i * P, NULL) == 0;
	}
	check(right, "rule 3: each is as it should be, in all of them");
	check(mshare_protect(fd, 5000 * P, P, PROT_NONE) == 0 &&
		      p_load(&q, w + 5000 * P, NULL) == SIGSEGV &&
		      p_load(&p, w + 5000 * P, NULL) == SIGSEGV &&
		      p_load(&p, w + 4999 * P, NULL) == 0,
	      "rule 3: a protect among them");
	check(mshare_unmap(fd, 3000 * P, 2 * P) == 0 && p_load(&q, w + 3000 * P, NULL) == SIGSEGV &&
		      p_load(&p, w + 3001 * P, NULL) == SIGSEGV &&
		      p_load(&q, w + 3002 * P, NULL) == 0,
	      "rule 3: an unmap");
	check(mshare_map(fd, 3000 * P, P, RW, 0, -1, 0) == 0 && p_store(&q, w + 3000 * P, 1) == 0 &&
		      p_load(&q, w + 3001 * P, NULL) == SIGSEGV,
	      "rule 3: a map");
	struct mshare_mapping *m = calloc(MANY, sizeof(*m));
	size_t count = MANY;

	must(m);
	right = mshare_mappings(fd, m, sizeof(*m), &count) == 0 && count == MANY;
	for (size_t i = 0; right && i + 1 < count; i++)
		right = m[i].length == P && m[i].offset == (i <= 3000 ? i : i + 1) * P;
	check(right, "all are listed (%zu)", count);
	free(m);
	check(p_end(&p) && p_end(&q) && mshare_detach(w) == 0, "detach");

	if (TEST_ASAN || TEST_TSAN) {
		skip("the most mappings and E2BIG", "too slow in the sanitizers' builds");
		return done();
	}
	/*
	 * The most there can be. One page is a hole now: 10,000 entries, and an even
	 * number behind each two splits.
	 */
	size_t most = most_mappings() & ~(size_t)1;

	if (most * P > 100 * MIB * 5) {
		skip("the most mappings there can be", "vm.max_map_count is %zu", most);
		return done();
	}
	start = now_ms();
	check(split(fd, MANY, most) && info_of(fd).mappings == most, "%zu mappings, %" PRIu64 " ms",
	      most, now_ms() - start);
	uint64_t generation = info_of(fd).generation, mapped = info_of(fd).mapped;

	check_error(mshare_protect(fd, 800 * MIB, P, PROT_READ), E2BIG,
		    "protect in the middle of one, which would make two more: E2BIG");
	char number[24];

	snprintf(number, sizeof(number), "%zu", most);
	check(strstr(mshare_errmsg(), number) != NULL, "with the number (%s)", mshare_errmsg());
	check_error(mshare_unmap(fd, 800 * MIB, P), E2BIG,
		    "unmap in the middle of one, which would make one more: E2BIG");
	/* As for mmap(), the kernel's limit is one less than what mapping can reach. */
	if (on_shm())
		check_error(mshare_map(fd, 3001 * P, P, PROT_NONE, MSHARE_MAP_NORESERVE, -1, 0),
			    E2BIG, "map of one more: E2BIG");
	check(info_of(fd).mappings == most && info_of(fd).generation == generation &&
		      info_of(fd).mapped == mapped,
	      "rule 2: and nothing has changed");
	check(mshare_attach(fd, NULL, RW, 0) == w && load(w + most * P, NULL) == 0 &&
		      load(w + 3001 * P, NULL) == SIGSEGV,
	      "attached with all of them");
	check(mshare_protect(fd, P, P, RW) == 0 && info_of(fd).mappings == most - 2 &&
		      store(w + P, 1) == 0,
	      "one that makes three alike makes it two less");
	check(mshare_map(fd, 3001 * P, P, PROT_NONE, MSHARE_MAP_NORESERVE, -1, 0) == 0,
	      "with room again it goes on");
	check(mshare_unmap(fd, 0, GIB) == 0 && load(w, NULL) == SIGSEGV && info_of(fd).mapped == 0,
	      "all unmapped at once");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
