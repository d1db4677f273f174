/* SPDX-License-Identifier: MIT */
/*
 * Rule 11: raw calls on a window. On a back end that can refuse, partial ones
 * are EINVAL and a whole munmap detaches. On one that cannot, what they do to
 * the caller is undefined, and must not become anybody else's trouble.
 */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	bool refuses = backend().capabilities & MSHARE_CAP_REFUSES_RAW_CALLS;

	must(mshare_map(fd, 0, 8 * P, RW, 0, -1, 0) == 0);
	if (refuses) {
		char *w = mshare_attach(fd, NULL, RW, 0);

		must(w != MAP_FAILED && store(w, 1) == 0);
		check(munmap(w, P) == -1 && errno == EINVAL, "rule 11: munmap of a part: EINVAL");
		check(mprotect(w, P, PROT_READ) == -1 && errno == EINVAL,
		      "rule 11: mprotect: EINVAL");
		check(mremap(w, P, 2 * P, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL,
		      "rule 11: mremap: EINVAL");
		check(madvise(w, P, MADV_DONTNEED) == -1 && errno == EINVAL,
		      "rule 11: MADV_DONTNEED: EINVAL");
		check(value_at(w) == 1 && store(w, 2) == 0, "rule 11: nothing has changed");
		check(munmap(w, GIB) == 0 && load(w, NULL) == SIGSEGV &&
			      info_of(fd).attachments == 0,
		      "rule 11: munmap of the whole detaches");
		return done();
	}
	check(on_shm(), "rule 11: the shm back end cannot refuse raw calls, and says so");
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer healthy = peer_unrelated();
	int there = p_open(&healthy, name, O_RDWR, 0);

	must(w != MAP_FAILED && p_attach(&healthy, there, NULL, RW, 0) == w);
	must(store(w, 1) == 0);

	/* Children of this process do what they should not. */
	for (int what = 0; what < 4; what++) {
		static const char *doing[] = {"munmaps its whole window", "munmaps a part of it",
					      "mprotects a part of it", "maps something over it"};
		struct line ready = line_new(), go = line_new();
		pid_t pid = fork();

		must(pid >= 0);
		if (pid == 0) {
			if (what == 0)
				munmap(w, GIB);
			else if (what == 1)
				munmap(w + P, P);
			else if (what == 2)
				mprotect(w, 4 * P, PROT_NONE);
			else if (mmap(w + 2 * P, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				      0) == MAP_FAILED)
				_exit(1);
			line_ring(ready);
			line_wait(go);
			_exit(0);
		}
		line_wait(ready);
		check(mshare_map(fd, 16 * P, P, RW, 0, -1, 0) == 0,
		      "rule 11: a process %s: a change does not wait for ever", doing[what]);
		check(mshare_protect(fd, 0, 4 * P, PROT_READ) == 0 &&
			      p_store(&healthy, w, 1) == SIGSEGV &&
			      p_load(&healthy, w + 16 * P, NULL) == 0 && store(w, 1) == SIGSEGV,
		      "rule 11: it is in force in the others");
		check(mshare_protect(fd, 0, 4 * P, RW) == 0 && mshare_unmap(fd, 16 * P, P) == 0 &&
			      p_load(&healthy, w + 16 * P, NULL) == SIGSEGV,
		      "rule 11: and so are the next");
		line_ring(go);
		int status;

		must(waitpid(pid, &status, 0) == pid);
		check(exited(status, 0), "rule 11: it has not been killed for it");
		line_close(ready);
		line_close(go);
	}
	check(value_at(w) == 1 && p_load(&healthy, w + 7 * P, NULL) == 0,
	      "rule 11: the region is as it was");
	check(info_of(fd).attachments == 2, "rule 11: two are attached");
	check(p_end(&healthy), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
