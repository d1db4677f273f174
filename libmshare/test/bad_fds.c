/* SPDX-License-Identifier: MIT */
/* Bad input: descriptors that are none, that are no regions, that are not open as they must be. */
#include "test.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>

static void all(int fd, int want, const char *what)
{
	struct mshare_info i;
	size_t P = page(), count = 0;

	check_error(mshare_reserve(fd, NULL, GIB), want, "reserve: %s", what);
	check_error(mshare_map(fd, 0, P, RW, 0, -1, 0), want, "map: %s", what);
	check_error(mshare_unmap(fd, 0, P), want, "unmap: %s", what);
	check_error(mshare_protect(fd, 0, P, PROT_READ), want, "protect: %s", what);
	check_error(mshare_advise(fd, 0, P, MADV_NORMAL), want, "advise: %s", what);
	check_error(mshare_attach(fd, NULL, RW, 0), want, "attach: %s", what);
	check_error(mshare_info(fd, &i, sizeof(i)), want, "info: %s", what);
	check_error(mshare_mappings(fd, NULL, sizeof(struct mshare_mapping), &count), want,
		    "mappings: %s", what);
}

/* A descriptor of something else: EINVAL, and what it is of is left alone. */
static void foreign(int fd, const char *what)
{
	must(fd >= 0);
	all(fd, EINVAL, what);
	check_error(mshare_reopen(fd, O_RDWR), EINVAL, "reopen: %s", what);
	check(fcntl(fd, F_GETFD) >= 0, "%s: the descriptor is open still", what);
	close(fd);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	int pipefd[2], closed = dup(0);

	must(closed >= 0);
	close(closed);
	static const int none[] = {-1, -100, INT_MIN, INT_MAX, 100000};

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		char what[32];

		snprintf(what, sizeof(what), "descriptor %d", none[i]);
		all(none[i], EBADF, what);
		check_error(mshare_reopen(none[i], O_RDWR), EBADF, "reopen: %s", what);
	}
	all(closed, EBADF, "a descriptor that was closed");

	must(pipe2(pipefd, O_CLOEXEC) == 0);
	foreign(pipefd[0], "a pipe");
	close(pipefd[1]);
	foreign(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "a socket");
	foreign(eventfd(0, EFD_CLOEXEC), "an eventfd");
	foreign(open("/dev/null", O_RDWR | O_CLOEXEC), "/dev/null");
	foreign(open("/dev/zero", O_RDWR | O_CLOEXEC), "/dev/zero");
	foreign((int)syscall(SYS_pidfd_open, getpid(), 0), "a pidfd");

	/* Regular files elsewhere, with and without contents: untouched. */
	const char *path = temp_path("file");
	int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct stat st, after;

	must(file >= 0 && write(file, "hello", 5) == 5 && fstat(file, &st) == 0);
	struct statfs sf;

	must(fstatfs(file, &sf) == 0);
	/* On a tmpfs it could be a region of the shm back end, and that one says that it is none.
	 */
	if (sf.f_type == 0x01021994)
		all(file, EINVAL, "a regular file on a tmpfs that is none of ours");
	else
		foreign(dup(file), "a regular file on another file system");
	must(fstat(file, &after) == 0);
	char text[8] = "";

	check(after.st_size == 5 && pread(file, text, 8, 0) == 5 && !memcmp(text, "hello", 5),
	      "the file is as it was");
	must(ftruncate(file, 0) == 0);
	/* An empty file of a tmpfs is a region; of another file system it is none. */
	if (sf.f_type != 0x01021994)
		foreign(dup(file), "an empty regular file on another file system");
	foreign(open("/proc/self/comm", O_RDWR | O_CLOEXEC), "a regular file of /proc");
	close(file);
	unlink(path);

	/* A sealed or unsealed memory file that is none of ours. */
	int memfd = memfd_create("other", MFD_CLOEXEC);

	must(memfd >= 0 && write(memfd, "something else entirely", 23) == 23);
	all(memfd, EINVAL, "a memory file with other contents");
	must(ftruncate(memfd, (off_t)(2 * GIB)) == 0);
	all(memfd, EINVAL, "a large memory file with other contents");
	close(memfd);

	/* Directories: only mshare_info() knows what to say, and of a root only. */
	int root = mshare_root(), other = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct mshare_info i;
	size_t count = 0;

	must(root >= 0 && other >= 0);
	check_error(mshare_map(root, 0, P, RW, 0, -1, 0), EINVAL, "map: the root");
	check_error(mshare_attach(root, NULL, RW, 0), EINVAL, "attach: the root");
	check_error(mshare_reserve(root, NULL, GIB), EINVAL, "reserve: the root");
	check_error(mshare_reopen(root, O_RDONLY), EINVAL, "reopen: the root");
	check_error(mshare_mappings(root, NULL, sizeof(struct mshare_mapping), &count), EINVAL,
		    "mappings: the root");
	check(mshare_info(root, &i, sizeof(i)) == 0, "info: the root");
	check_error(mshare_info(other, &i, sizeof(i)), EOPNOTSUPP,
		    "info: a directory where no region can be");

	/* Regions, not open as they must be. */
	const char *name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	int path_fd = openat(root, name, O_PATH | O_CLOEXEC);
	int write_fd = openat(root, name, O_WRONLY | O_CLOEXEC);

	must(path_fd >= 0 && write_fd >= 0);
	check_error(mshare_map(path_fd, 4 * P, P, RW, 0, -1, 0), EBADF, "map: O_PATH");
	check_error(mshare_attach(path_fd, NULL, RW, 0), EBADF, "attach: O_PATH");
	check_error(mshare_map(write_fd, 4 * P, P, RW, 0, -1, 0), EACCES, "map: O_WRONLY");
	check_error(mshare_unmap(write_fd, 0, P), EACCES, "unmap: O_WRONLY");
	check_error(mshare_attach(write_fd, NULL, PROT_READ, 0), EACCES, "attach: O_WRONLY");
	check_error(mshare_attach(write_fd, NULL, RW, 0), EACCES, "attach: O_WRONLY, to write");
	check(info_of(fd).mapped == P && info_of(fd).attachments == 0,
	      "rule 2: nothing has changed");

	/* O_APPEND and O_NONBLOCK descriptors of a region are as good as others. */
	int append = openat(root, name, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC);

	check(append >= 0 && mshare_map(append, 4 * P, P, RW, 0, -1, 0) == 0 &&
		      mshare_protect(append, 0, P, PROT_READ) == 0 && info_of(fd).mapped == 2 * P &&
		      info_of(fd).mappings == 2,
	      "a descriptor with O_APPEND changes what it should");
	char *w = mshare_attach(append, NULL, RW, 0);

	check(w != MAP_FAILED && store(w + 4 * P, 1) == 0 && mshare_detach(w) == 0,
	      "and can be attached");
	return done();
}
