/* SPDX-License-Identifier: MIT */
/* Rule 7: names that are good, and what they name. (bad_names.c has the others.) */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *dir = unique("names");
	char name[PATH_MAX];
	/* Unusual and right. */
	static const char *good[] = {
		"a",  "...",      "..a",      ".hidden", "with space", "new\nline",
		"\t", "\xc3\xa4", "\xff\xfe", "-rf",     "a:b",        "%s%n",
		"~",  "$HOME",    "*",        "a.",      "a..",        "\\",
	};

	must(mshare_mkdir(dir, 0700) == 0);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(name, sizeof(name), "%s/%s", dir, good[i]);
		int fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
		int again = mshare_open(name, O_RDONLY, 0);

		check(fd >= 0 && again >= 0 && mshare_unlink(name) == 0,
		      "rule 7: good name %zu is made, opened, unlinked", i);
		check_error(mshare_open(name, O_RDWR, 0), ENOENT, "rule 7: and is gone (%zu)", i);
		close(fd);
		close(again);
	}
	int n = snprintf(name, sizeof(name), "%s/", dir);

	memset(name + n, 'x', 255);
	name[n + 255] = 0;
	int fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	check(fd >= 0 && mshare_unlink(name) == 0, "rule 7: a component of 255 bytes");
	close(fd);

	/* Many levels. */
	size_t len = (size_t)snprintf(name, sizeof(name), "%s", dir);
	size_t depth = 0, starts[40];

	for (; depth < 40; depth++) {
		starts[depth] = len;
		len += (size_t)snprintf(name + len, sizeof(name) - len, "/level%zu", depth);
		must(mshare_mkdir(name, 0700) == 0);
	}
	snprintf(name + len, sizeof(name) - len, "/region");
	fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	check(fd >= 0, "rule 7: 40 directories deep");
	must(mshare_reserve(fd, NULL, GIB) == 0 && mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);

	check(there >= 0 && p_attach(&p, there, NULL, RW, 0) != MAP_FAILED,
	      "rule 7: opened there by another process");
	check(mshare_unlink(name) == 0, "rule 7: and unlinked");
	name[len] = 0;
	while (depth-- > 0) {
		must(mshare_rmdir(name) == 0);
		name[starts[depth]] = 0;
	}
	check(p_end(&p), "the peer ended well");

	/* O_CREAT with and without O_EXCL. */
	const char *twice = unique("twice");
	int a = mshare_open(twice, O_RDWR | O_CREAT, 0600);
	int b = mshare_open(twice, O_RDWR | O_CREAT, 0600);
	struct stat sa, sb;

	must(a >= 0 && b >= 0 && fstat(a, &sa) == 0 && fstat(b, &sb) == 0);
	check(sa.st_ino == sb.st_ino, "rule 7: O_CREAT opens what exists");
	check_error(mshare_open(twice, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
		    "rule 7: O_EXCL does not");
	check((fcntl(a, F_GETFD) & FD_CLOEXEC) != 0, "rule 7: descriptors are close-on-exec");

	/* Two names are two regions; a hard link is one region of two names. */
	int root = mshare_root();
	const char *link = unique("link");

	must(root >= 0 && mshare_reserve(a, NULL, GIB) == 0);
	must(linkat(root, twice, root, link, 0) == 0);
	int c = mshare_open(link, O_RDWR, 0);

	check(c >= 0 && info_of(c).base == info_of(a).base, "rule 7: a hard link is a name too");
	check(mshare_unlink(twice) == 0 && mshare_map(c, 0, page(), RW, 0, -1, 0) == 0 &&
		      info_of(a).mapped == page(),
	      "rule 7: and keeps the region when the first name goes");
	return done();
}
