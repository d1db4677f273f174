/* SPDX-License-Identifier: MIT */
/*
 * A region on msharefs that somebody treats as the file that it is: what the kernel
 * gives or refuses, and that this library and its calls agree. (Rules 1, 4, 8, 11.)
 */
#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region"), *link = unique("link");
	int root = mshare_root(),
	    fd = openat(root, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char text[8] = "";
	struct stat st;

	must(root >= 0 && fd >= 0);
	check(read(fd, text, 8) == -1 && errno == EINVAL, "read(2): EINVAL");
	check(write(fd, text, 8) == -1 && errno == EINVAL, "write(2): EINVAL");
	check(ftruncate(fd, (off_t)P) == -1 && errno == EINVAL, "ftruncate to no window: EINVAL");
	check_eq(info_of(fd).window, 0, "rule 1: no window yet");

	/* A window by ftruncate() has no base. */
	check(ftruncate(fd, (off_t)(2 * GIB)) == 0, "ftruncate gives it a window");
	struct mshare_info i = info_of(fd);

	check(i.window == 2 * GIB && i.base == 0, "and no base");
	check(fstat(fd, &st) == 0 && st.st_size == (off_t)(2 * GIB), "which is the file's size");
	check(ftruncate(fd, (off_t)(4 * GIB)) == -1 && ftruncate(fd, 0) == -1,
	      "it cannot be given another");
	check_error(mshare_reserve(fd, NULL, 2 * GIB), EEXIST, "rule 1: nor reserved");
	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED && (uintptr_t)w % mshare_alignment() == 0 && store(w, 1) == 0,
	      "rule 4: attach(NULL) of a region without a base: anywhere");
	char *v = mshare_attach(fd, NULL, RW, 0);

	check(v != MAP_FAILED && v != w && value_at(v) == 1, "twice: twice anywhere");
	check(mshare_attach(fd, NULL, RW, MSHARE_ATTACH_REUSE) != MAP_FAILED &&
		      info_of(fd).attachments == 2,
	      "with REUSE: one of these");
	check(mshare_detach(v) == 0 && mshare_detach(w) == 0, "detach");
	if (info_of(fd).attachments)
		check(mshare_detach(v) == 0 || mshare_detach(w) == 0, "the other user's");
	check_eq(info_of(fd).attachments, 0, "all have gone");

	/* mmap() of something else than the whole, or not as it must be. */
	check(mmap(NULL, GIB, RW, MAP_SHARED, fd, 0) == MAP_FAILED && errno == EINVAL,
	      "mmap of a half: EINVAL");
	check(mmap(NULL, GIB, RW, MAP_SHARED, fd, (off_t)GIB) == MAP_FAILED && errno == EINVAL,
	      "mmap of the other half: EINVAL");
	check(mmap(NULL, 2 * GIB, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL,
	      "MAP_PRIVATE: EINVAL");
	check(mmap(NULL, 2 * GIB, PROT_NONE, MAP_SHARED, fd, 0) == MAP_FAILED,
	      "PROT_NONE: not to be had");

	/* Attached by mmap() alone, counted by the region, unknown to this library. */
	w = mmap(NULL, 2 * GIB, RW, MAP_SHARED, fd, 0);
	check(w != MAP_FAILED && value_at(w) == 1 && info_of(fd).attachments == 1,
	      "mmap of the whole attaches");
	check_error(mshare_detach(w), EINVAL, "and is not mshare_attach()'s to detach");
	check(munmap(w, 2 * GIB) == 0 && info_of(fd).attachments == 0, "munmap is");

	/* Names are a file's names. */
	check(linkat(root, name, root, link, 0) == 0 && unlinkat(root, name, 0) == 0,
	      "link and unlink");
	check(renameat(root, link, root, name) == 0, "rename");
	int again = mshare_open(name, O_RDWR, 0);

	check(again >= 0 && MAPPED_IS(again, {0, 2 * P, RW, 0}), "it is the same region");

	/* Born without a name, and given one. */
	int nameless = mshare_create(0, 0600);
	char path[64];

	must(nameless >= 0 && mshare_reserve(nameless, NULL, GIB) == 0);
	must(mshare_map(nameless, 0, P, RW, 0, -1, 0) == 0);
	check(fstat(nameless, &st) == 0 && st.st_nlink == 0, "a region without a name has no link");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", nameless);
	check(linkat(AT_FDCWD, path, root, link, AT_SYMLINK_FOLLOW) == 0, "and can be given one");
	again = mshare_open(link, O_RDWR, 0);
	check(again >= 0 && MAPPED_IS(again, {0, P, RW, 0}), "under which it is found");

	/* O_TRUNC of a region with contents must not take them away. */
	int cut = openat(root, link, O_RDWR | O_TRUNC | O_CLOEXEC);

	check(cut == -1, "O_TRUNC is refused (%s)", strerror(errno));
	check(MAPPED_IS(again, {0, P, RW, 0}) && info_of(again).window == GIB,
	      "and has truncated nothing");
	return done();
}
