/* SPDX-License-Identifier: MIT */
/*
 * Rule 11: raw calls on a window. On a back end that can refuse, partial ones
 * are EINVAL and a whole munmap detaches. On one that cannot, what they do to
 * the caller is undefined, and must not become anybody else's trouble.
 */
#include "test.h"

/* The call is refused, with EINVAL. */
#define refuse(call, what)                                                                         \
	({                                                                                         \
		errno = 0;                                                                         \
		long r_ = (long)(call);                                                            \
		check(r_ == -1 && errno == EINVAL, "rule 11: %s: EINVAL", what);                   \
	})

static void all_refused(char *w)
{
	size_t P = page();
	unsigned long node = 1;

	refuse(munmap(w, P), "munmap of the first page");
	refuse(munmap(w + GIB - P, P), "munmap of the last page");
	refuse(munmap(w + 4 * P, P), "munmap in the middle");
	refuse(mprotect(w, P, PROT_READ), "mprotect of a page");
	refuse(mprotect(w, GIB, PROT_READ), "mprotect of the window");
	refuse(mprotect(w, GIB, PROT_NONE), "mprotect to PROT_NONE");
	refuse(mremap(w, P, 2 * P, MREMAP_MAYMOVE), "mremap of a page");
	refuse(mremap(w, GIB, GIB, MREMAP_MAYMOVE | MREMAP_FIXED, w + 64 * GIB),
	       "mremap of the window to another address");
	refuse(mremap(w, GIB, GIB - P, 0), "mremap to shrink it");
	refuse(mmap(w + 2 * P, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
	       "mmap over a part");
	refuse(madvise(w, P, MADV_DONTNEED), "MADV_DONTNEED");
	refuse(madvise(w, GIB, MADV_DONTNEED), "MADV_DONTNEED of the window");
	refuse(madvise(w, P, MADV_FREE), "MADV_FREE");
	refuse(madvise(w, P, MADV_COLD), "MADV_COLD");
	refuse(madvise(w, P, MADV_PAGEOUT), "MADV_PAGEOUT");
	refuse(madvise(w, P, MADV_DONTFORK), "MADV_DONTFORK of a part");
	/* Without NUMA there is no such call. */
	if (syscall(SYS_mbind, NULL, 0, 0, NULL, 0, 0) == 0 || errno != ENOSYS)
		refuse(syscall(SYS_mbind, w, GIB, 2 /* MPOL_BIND */, &node, 8, 0), "mbind");
	else
		note("no NUMA: mbind() is not there to be refused");
}

/*
 * A whole munmap detaches, behind this library's back. What comes to lie there then
 * is not the region's, and no call takes it for that.
 */
static void raw_detach(int fd, char *w)
{
	size_t P = page();

	check(munmap(w, GIB) == 0 && load(w, NULL) == SIGSEGV && info_of(fd).attachments == 0,
	      "rule 11: munmap of the whole detaches");
	check_error(mshare_detach(w), EINVAL, "rule 11: there is nothing to detach then");

	check(mshare_attach(fd, NULL, RW, 0) == w && munmap(w, GIB) == 0, "rule 11: once more");
	char *mine = mmap(w, GIB, RW,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	must(mine == w && store(w, 77) == 0);
	check_error(mshare_detach(w), EINVAL, "rule 11: what came to lie there is not detached");
	check_error(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE), EADDRINUSE,
		    "rule 4: nor taken for an attachment to reuse");
	check(value_at(w) == 77, "rule 11: and is as it was");
	must(munmap(w, GIB) == 0);

	check(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == w && munmap(w, GIB) == 0 &&
		      mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) == w &&
		      info_of(fd).attachments == 1 && value_at(w) == 2,
	      "rule 11: REUSE attaches anew what is not there any more");
	check(mshare_detach(w) == 0 && load(w, NULL) == SIGSEGV,
	      "rule 11: with the one user that it has");

	/* Another region's window there, put by mmap(). */
	int other = region_new(unique("other"), GIB);

	must(mshare_map(other, 0, P, RW, 0, -1, 0) == 0);
	check(mshare_attach(fd, NULL, RW, 0) == w && munmap(w, GIB) == 0 &&
		      mmap(w, GIB, RW, MAP_SHARED | MAP_FIXED_NOREPLACE, other, 0) == w,
	      "rule 11: a window that mmap() attached");
	check_error(mshare_detach(w), EINVAL, "rule 11: is the program's own to unmap");
	check(info_of(other).attachments == 1 && store(w, 5) == 0 && munmap(w, GIB) == 0 &&
		      info_of(other).attachments == 0,
	      "rule 11: as it likes");

	/* mmap() over the whole of one replaces it, and the child knows what it has. */
	check(mshare_attach(fd, NULL, RW, 0) == w &&
		      mmap(w, GIB, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			   0) == w &&
		      info_of(fd).attachments == 0,
	      "rule 11: mmap over the whole of a window replaces it");
	struct peer child = peer_fork();

	check_peer_error(p_detach(&child, w), EINVAL, "rule 11: nor does a child detach it");
	check(p_load(&child, w, NULL) == 0 && p_end(&child), "rule 11: which has it still");
	must(munmap(w, GIB) == 0);

	/* Windows that overlap entries which are gone. */
	int large = region_new(NULL, 2 * GIB);

	check(mshare_attach(fd, w, RW, 0) == w && munmap(w, GIB) == 0 &&
		      mshare_attach(large, w - GIB, RW, 0) == w - GIB,
	      "rule 11: a larger window over where it was");
	check_error(mshare_detach(w), EINVAL, "rule 11: has no attachment in its middle");
	check(mshare_detach(w - GIB) == 0, "detach");
}

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
		all_refused(w);
		check(value_at(w) == 1 && store(w, 2) == 0 && info_of(fd).attachments == 1,
		      "rule 11: nothing has changed");
		raw_detach(fd, w);
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
