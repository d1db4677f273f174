/* SPDX-License-Identifier: MIT */
/* Rule 11: an attachment is a unit; mshare_detach is the way out. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int fd = region_new(unique("region"), 2 * GIB), other = region_new(unique("other"), GIB);

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(other, 0, 4 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0), *o = mshare_attach(other, NULL, RW, 0);
	char *v = mshare_attach(fd, NULL, PROT_READ, MSHARE_ATTACH_ANYWHERE);
	char *plain = mmap(NULL, P, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(w != MAP_FAILED && o != MAP_FAILED && v != MAP_FAILED && plain != MAP_FAILED);
	must(store(w, 1) == 0 && store(o, 2) == 0 && store(plain, 3) == 0);
	struct peer p = peer_fork();

	check_error(mshare_detach(NULL), EINVAL, "rule 11: detach of NULL");
	check_error(mshare_detach(MAP_FAILED), EINVAL, "rule 11: detach of MAP_FAILED");
	check_error(mshare_detach(w + P), EINVAL, "rule 11: detach of an address inside a window");
	check_error(mshare_detach(w + GIB), EINVAL, "rule 11: detach of an aligned one inside");
	check_error(mshare_detach(w - GIB), EINVAL, "rule 11: detach of an address before it");
	check_error(mshare_detach(plain), EINVAL, "rule 11: detach of other memory");
	check(value_at(w) == 1 && value_at(o) == 2 && value_at(v) == 1 && value_at(plain) == 3,
	      "rule 11: none of these changed anything");

	check(mshare_detach(w) == 0, "rule 11: detach");
	unsigned char vec;
	bool gone = true;

	for (size_t off = 0; off < 2 * GIB; off += 64 * MIB)
		gone = gone && mincore(w + off, P, &vec) == -1 && errno == ENOMEM;
	gone = gone && mincore(w + 2 * GIB - P, P, &vec) == -1 && errno == ENOMEM;
	check(gone, "rule 11: the whole window is gone from the address space");
	check(load(w, NULL) == SIGSEGV, "rule 11: a touch is SIGSEGV");
	check_error(mshare_detach(w), EINVAL, "rule 11: detach twice");
	void *m = mmap(w, 2 * GIB, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	check(m == w, "rule 11: the addresses can be used for something else");
	must(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0);
	check(load(w + 8 * P, NULL) == SIGSEGV, "rule 11: which later changes do not touch");
	check_error(mshare_detach(w), EINVAL, "rule 11: and which cannot be detached");
	munmap(m, 2 * GIB);

	check(load(v, NULL) == 0 && load(v + 8 * P, NULL) == 0,
	      "rule 11: the other view of the region stays");
	check(value_at(o) == 2, "rule 11: and the other region");
	check(p_load(&p, w, NULL) == 0 && p_load(&p, w + 8 * P, NULL) == 0 &&
		      p_load(&p, v, NULL) == 0,
	      "rule 11: and the other process'");
	check(mshare_attach(fd, NULL, RW, 0) == w && value_at(w) == 1, "rule 11: attached again");

	/* The descriptor may go first, or last. */
	close(fd);
	check(value_at(w) == 1 && mshare_detach(w) == 0, "rule 11: detach after close");
	check(mshare_detach(v) == 0 && mshare_detach(o) == 0, "rule 11: and the others");
	check_eq(info_of(other).attachments, 1, "rule 11: the peer's is left");
	check(p_end(&p), "the peer ended well");

	/* By another thread than the one that attached: see rule10_threads. In a loop, no leak. */
	long lines = count_lines("/proc/self/maps");
	int bad = 0;

	for (int i = 0; i < 100; i++) {
		char *x = mshare_attach(other, NULL, i % 2 ? RW : PROT_READ, 0);

		bad += x != o || load(x, NULL) != 0 || mshare_detach(x) != 0;
	}
	check(bad == 0, "rule 11: attach and detach, 100 times");
	check_eq(threads_become(THREADS_ALONE), THREADS_ALONE, "rule 11: no thread is left");
	if (TEST_ASAN || TEST_TSAN)
		skip("rule 11: no mapping is left", "the sanitizer's own mappings come and go");
	else
		/* A thread's stack may be kept for the next one. */
		check(count_lines("/proc/self/maps") <= lines + 3, "rule 11: no mapping is left");
	return done();
}
