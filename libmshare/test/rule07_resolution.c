/* SPDX-License-Identifier: MIT */
/*
 * Rule 7: symbolic links are never followed, resolution never leaves the root,
 * and only regular files are regions.
 */
#include "test.h"

#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static char out[PATH_MAX]; /* a file outside the root */

/* Every call that takes a name, for something that is no region. */
static void refuse(const char *name, int want, const char *what)
{
	uint64_t start = now_ms();

	check_error(mshare_open(name, O_RDWR, 0), want, "rule 7: open of %s", what);
	check_error(mshare_open(name, O_RDONLY, 0), want, "rule 7: open of %s, read-only", what);
	check_error(mshare_open(name, O_RDWR | O_CREAT, 0600), want, "rule 7: create over %s",
		    what);
	check(now_ms() - start < 5000, "rule 7: none of that hung (%s)", what);
}

/* A tmpfs can hold anything. */
static void others_refused(int root, const char *region, const char *dir)
{
	char in[256];
	struct stat st;

	/* Links: to a region, out of the root, dangling, looping, to a directory. */
	const char *link = unique("link");

	must(symlinkat(region, root, link) == 0);
	refuse(link, ELOOP, "a link to a region");
	check_error(mshare_open(link, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
		    "rule 7: O_EXCL over a link");
	check_error(mshare_mkdir(link, 0700), EEXIST, "rule 7: mkdir over a link");
	check_error(mshare_rmdir(link), ENOTDIR, "rule 7: rmdir of a link");
	check(mshare_unlink(link) == 0 && fstatat(root, region, &st, 0) == 0,
	      "rule 7: unlink of a link takes the link, not the region");

	must(symlinkat(out, root, link) == 0);
	refuse(link, ELOOP, "a link out of the root");
	must(mshare_unlink(link) == 0);
	check(stat(out, &st) == 0 && st.st_size == 0, "rule 7: what it pointed to is untouched");

	must(symlinkat("nothing-here", root, link) == 0);
	refuse(link, ELOOP, "a dangling link");
	check(fstatat(root, "nothing-here", &st, 0) == -1 && errno == ENOENT,
	      "rule 7: nothing was made at its end");
	must(mshare_unlink(link) == 0);

	must(symlinkat(link, root, link) == 0);
	refuse(link, ELOOP, "a looping link");
	must(mshare_unlink(link) == 0);

	must(symlinkat("/proc/self/exe", root, link) == 0);
	refuse(link, ELOOP, "a link to a magic link");
	must(mshare_unlink(link) == 0);

	must(symlinkat(dir, root, link) == 0);
	snprintf(in, sizeof(in), "%s/region", link);
	check_error(mshare_open(in, O_RDWR | O_CREAT, 0600), ELOOP, "rule 7: a link on the way");
	check_error(mshare_unlink(in), ELOOP, "rule 7: a link on the way of an unlink");
	check_error(mshare_mkdir(in, 0700), ELOOP, "rule 7: a link on the way of a mkdir");
	check_error(mshare_rmdir(in), ELOOP, "rule 7: a link on the way of a rmdir");
	must(mshare_unlink(link) == 0);

	char parent[PATH_MAX];

	snprintf(parent, sizeof(parent), "%s", out);
	*strrchr(parent, '/') = 0;
	must(symlinkat(parent, root, link) == 0);
	snprintf(in, sizeof(in), "%s/%s", link, strrchr(out, '/') + 1);
	check_error(mshare_unlink(in), ELOOP, "rule 7: an unlink does not leave the root");
	check(stat(out, &st) == 0, "rule 7: what is outside is there still");
	must(mshare_unlink(link) == 0);

	/* Not regular files. */
	const char *odd = unique("odd");

	must(mkfifoat(root, odd, 0600) == 0);
	refuse(odd, EINVAL, "a FIFO");
	check(mshare_unlink(odd) == 0, "rule 7: unlink of a FIFO");

	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(sock >= 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/%s", root, "sock");
	must(bind(sock, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	refuse("sock", EINVAL, "a socket");
	check(mshare_unlink("sock") == 0, "rule 7: unlink of a socket");
	close(sock);

	if (mknodat(root, odd, S_IFCHR | 0600, makedev(1, 3)) == 0) {
		struct statvfs fs;

		must(fstatvfs(root, &fs) == 0);
		/* Mounted so, which /dev/shm often is, it is not opened at all. */
		refuse(odd, fs.f_flag & ST_NODEV ? EACCES : EINVAL, "a character device");
		check(mshare_unlink(odd) == 0, "rule 7: unlink of a device");
	} else {
		skip("rule 7: a device", "mknod: %s", strerror(errno));
	}
}

/* A msharefs holds regions and directories, and nothing else can be made there. */
static void others_impossible(int root)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const char *odd = unique("odd");
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	must(sock >= 0);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d/%s", root, "sock");
	check(symlinkat("somewhere", root, odd) == -1 && errno == EPERM, "rule 7: no links");
	check(mkfifoat(root, odd, 0600) == -1 && errno == EPERM, "rule 7: no FIFOs");
	check(mknodat(root, odd, S_IFCHR | 0600, makedev(1, 3)) == -1 && errno == EPERM,
	      "rule 7: no devices");
	check(bind(sock, (struct sockaddr *)&sun, sizeof(sun)) == -1 && errno == EPERM,
	      "rule 7: no sockets");
	check(fstatat(root, odd, &st, AT_SYMLINK_NOFOLLOW) == -1 && errno == ENOENT,
	      "rule 7: and nothing has been made");
	close(sock);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	int root = mshare_root();
	const char *dir = unique("dir"), *region = unique("region");
	char in[256];

	must(root >= 0 && mshare_mkdir(dir, 0700) == 0);
	close(region_new(region, GIB));
	snprintf(out, sizeof(out), "%s", temp_path("outside"));
	int fd = open(out, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	must(fd >= 0);
	close(fd);

	if (on_shm())
		others_refused(root, region, dir);
	else
		others_impossible(root);

	refuse(dir, EISDIR, "a directory");
	check_error(mshare_unlink(dir), EISDIR, "rule 7: unlink of a directory");
	snprintf(in, sizeof(in), "%s/below", region);
	check_error(mshare_open(in, O_RDWR | O_CREAT, 0600), ENOTDIR, "rule 7: below a region");
	check_error(mshare_unlink(in), ENOTDIR, "rule 7: unlink below a region");

	/* On the shm back end, any file may lie in the root. */
	if (on_shm()) {
		const char *odd = unique("file");

		fd = openat(root, odd, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		must(fd >= 0 && write(fd, "hello, world\n", 13) == 13);
		int r = mshare_open(odd, O_RDWR, 0);

		if (r < 0) {
			check(errno == EINVAL, "rule 7: a file that is no region: EINVAL");
		} else {
			check_error(mshare_attach(r, NULL, RW, 0), EINVAL,
				    "rule 7: a file that is no region: attach");
			check_error(mshare_map(r, 0, page(), RW, 0, -1, 0), EINVAL,
				    "rule 7: a file that is no region: map");
			check_error(mshare_reserve(r, NULL, GIB), EINVAL,
				    "rule 7: a file that is no region: reserve");
			close(r);
		}
		char text[16] = "";

		check(pread(fd, text, 16, 0) == 13 && !memcmp(text, "hello, world\n", 13),
		      "rule 7: and its bytes are as they were");
		close(fd);
		check(mshare_unlink(odd) == 0, "rule 7: unlink takes any name");
	}
	unlink(out);
	return done();
}
