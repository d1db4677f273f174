/* SPDX-License-Identifier: MIT */
/* Bad input: every bad name of rule 7, for every call that takes a name. */
#include "test.h"

static int entries(void)
{
	int root = mshare_root(), n = 0;
	char path[64];

	must(root >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", root);
	char command[PATH_MAX], target[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	must(len > 0);
	target[len] = 0;
	snprintf(command, sizeof(command), "find '%.3000s' -mindepth 1 | wc -l", target);
	FILE *f = popen(command, "r");

	must(f && fscanf(f, "%d", &n) == 1);
	pclose(f);
	close(root);
	return n;
}

static void refuse(const char *name, int want, const char *what)
{
	check_error(mshare_open(name, O_RDWR, 0), want, "rule 7: open: %s", what);
	check_error(mshare_open(name, O_RDWR | O_CREAT, 0600), want, "rule 7: create: %s", what);
	check_error(mshare_open(name, O_RDONLY | O_CREAT | O_EXCL, 0600), want,
		    "rule 7: create anew: %s", what);
	check_error(mshare_unlink(name), want, "rule 7: unlink: %s", what);
	check_error(mshare_mkdir(name, 0700), want, "rule 7: mkdir: %s", what);
	check_error(mshare_rmdir(name), want, "rule 7: rmdir: %s", what);
	check_error(mshare(name, (void *)(64 * GIB), GIB, O_RDWR, 0), want, "rule 7: mshare: %s",
		    what);
	check_error(mshare(name, (void *)(64 * GIB), GIB, O_RDWR | O_CREAT, 0600), want,
		    "rule 7: mshare, create: %s", what);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	const char *dir = unique("dir"), *region = unique("region");
	char name[PATH_MAX * 2], in[PATH_MAX];
	struct stat st;

	must(mshare_mkdir(dir, 0700) == 0);
	int fd = region_new(region, GIB);
	int before = entries();

	must(fstat(fd, &st) == 0);
	ino_t inode = st.st_ino;

	refuse("", EINVAL, "empty");
	refuse("mshare_info", EINVAL, "\"mshare_info\", on either back end");
	refuse("/", EINVAL, "\"/\"");
	refuse("/x", EINVAL, "absolute");
	refuse("//x", EINVAL, "absolute, twice");
	refuse("/dev/shm/x", EINVAL, "an absolute path to where regions are");
	refuse(".", EINVAL, "\".\"");
	refuse("..", EINVAL, "\"..\"");
	refuse("./x", EINVAL, "\".\" first");
	refuse("../x", EINVAL, "\"..\" first");
	refuse("x/.", EINVAL, "\".\" last");
	refuse("x/..", EINVAL, "\"..\" last");
	snprintf(in, sizeof(in), "%s/./x", dir);
	refuse(in, EINVAL, "\".\" in the middle");
	snprintf(in, sizeof(in), "%s/../%s", dir, region);
	refuse(in, EINVAL, "\"..\" in the middle, to a region");
	snprintf(in, sizeof(in), "%s//x", dir);
	refuse(in, EINVAL, "an empty component");
	snprintf(in, sizeof(in), "%s/", dir);
	refuse(in, EINVAL, "a trailing slash, a directory");
	snprintf(in, sizeof(in), "%s/", region);
	refuse(in, EINVAL, "a trailing slash, a region");
	refuse("x//", EINVAL, "two trailing slashes");
	refuse(NULL, EINVAL, "NULL");

	memset(name, 'x', sizeof(name));
	name[256] = 0;
	refuse(name, ENAMETOOLONG, "a component of 256 bytes");
	snprintf(name, sizeof(name), "%s/", dir);
	memset(name + strlen(name), 'y', 256);
	name[strlen(dir) + 1 + 256] = 0;
	refuse(name, ENAMETOOLONG, "a component of 256 bytes in a directory");
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 100 == 99 ? '/' : 'z';
	name[PATH_MAX + 50] = 0;
	refuse(name, ENAMETOOLONG, "longer than a path can be");

	/* A directory's name is good, but names no region. */
	check_error(mshare_open(dir, O_RDWR, 0), EISDIR, "rule 7: open of a directory");
	check_error(mshare_open(dir, O_RDONLY, 0), EISDIR,
		    "rule 7: open of a directory, read-only");
	check_error(mshare_open(dir, O_RDWR | O_CREAT, 0600), EISDIR, "rule 7: create over it");
	check_error(mshare_open(dir, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
		    "rule 7: create anew over it");
	check_error(mshare_unlink(dir), EISDIR, "rule 7: unlink of it");
	check_error(mshare_mkdir(region, 0700), EEXIST, "rule 7: mkdir over a region");
	check_error(mshare_rmdir(region), ENOTDIR, "rule 7: rmdir of a region");

	check_eq(entries(), before, "none of these made or removed anything");
	must(fstat(fd, &st) == 0);
	int again = mshare_open(region, O_RDWR, 0);
	struct stat now;

	check(again >= 0 && fstat(again, &now) == 0 && now.st_ino == inode && now.st_nlink == 1,
	      "the region is there still");
	return done();
}
