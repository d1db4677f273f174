/* SPDX-License-Identifier: MIT */
/* mshare(): every failure leaves the caller's mappings as they were, and no region. */
#include "mount_util.h"

static char *a;
static size_t P;

static void lay_out(void)
{
	must(mmap(a, 8 * P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == a);
	must(store(a, 11) == 0 && store(a + 4 * P, 12) == 0);
	must(mprotect(a + 4 * P, 4 * P, PROT_READ) == 0);
}

/* Bytes, protections and holes are as laid out, private, and there is no region. */
static bool untouched(const char *name)
{
	bool good = value_at(a) == 11 && store(a, 11) == 0 && value_at(a + 4 * P) == 12 &&
		    store(a + 4 * P, 1) == SIGSEGV && load(a + 8 * P, NULL) == SIGSEGV;
	int fd = mshare_open(name, O_RDWR, 0);

	if (fd >= 0) {
		note("a region is there");
		close(fd);
	}
	/* Private still: a child's store is its own. */
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0)
		_exit(store(a, 99));
	must(waitpid(pid, &status, 0) == pid);
	return good && fd < 0 && exited(status, 0) && value_at(a) == 11;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	const char *root = own_root("size=16m");
	const char *name = unique("region");
	int probe = region_new(NULL, 2 * GIB);

	a = (char *)(uintptr_t)info_of(probe).base;
	close(probe);
	lay_out();

	check_error(mshare(name, a + P, GIB, O_RDWR | O_CREAT, 0600), EINVAL,
		    "an unaligned address");
	check_error(mshare(name, a, P, O_RDWR | O_CREAT, 0600), EINVAL, "an unaligned length");
	check_error(mshare(name, a, 0, O_RDWR | O_CREAT, 0600), EINVAL, "length 0");
	check_error(mshare(name, a, ~(size_t)0 & ~(GIB - 1), O_RDWR | O_CREAT, 0600), EINVAL,
		    "a length that overflows");
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_TRUNC, 0600), EINVAL, "O_TRUNC");
	check_error(mshare(name, a, GIB, O_WRONLY | O_CREAT, 0600), EINVAL, "O_WRONLY");
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT, 010600), EINVAL,
		    "mode bits beyond 0777");
	check_error(mshare("", a, GIB, O_RDWR | O_CREAT, 0600), EINVAL, "rule 7: an empty name");
	check_error(mshare("../x", a, GIB, O_RDWR | O_CREAT, 0600), EINVAL, "rule 7: \"..\"");
	check_error(mshare("/x", a, GIB, O_RDWR | O_CREAT, 0600), EINVAL,
		    "rule 7: an absolute name");
	check_error(mshare(NULL, a, GIB, O_RDWR | O_CREAT, 0600), EINVAL, "no name");
	check_error(mshare("no/such", a, GIB, O_RDWR | O_CREAT, 0600), ENOENT, "no directory");
	check_error(mshare(name, a, GIB, O_RDWR, 0), ENOENT, "without O_CREAT: no region");
	check(untouched(name), "none of these changed anything");

	/* Something that is not private anonymous memory. */
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int pipefd[2];

	must(file >= 0 && pipe(pipefd) == 0);
	struct {
		const char *what;
		int prot, flags, fd;
	} odd[] = {
		{"a private file mapping", PROT_READ, MAP_PRIVATE, file},
		{"a shared file mapping", PROT_READ, MAP_SHARED, file},
		{"shared anonymous memory", RW, MAP_SHARED | MAP_ANONYMOUS, -1},
	};

	for (int i = 0; i < 3; i++) {
		char *m = mmap(a + 100 * MIB, P, odd[i].prot, odd[i].flags | MAP_FIXED_NOREPLACE,
			       odd[i].fd, 0);

		must(m == a + 100 * MIB);
		uint64_t before = value_at(m);

		check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600), EOPNOTSUPP,
			    "%s in the range", odd[i].what);
		check(untouched(name) && value_at(m) == before, "%s: nothing has changed",
		      odd[i].what);
		munmap(m, P);
	}
	/* Another region's attachment is no anonymous memory either. */
	int other = mshare_create(0, 0600);

	must(mshare_reserve(other, NULL, GIB) == 0 && mshare_map(other, 0, P, RW, 0, -1, 0) == 0);
	must(mshare_attach(other, a + GIB, RW, 0) == a + GIB && store(a + GIB, 5) == 0);
	check_error(mshare(name, a, 2 * GIB, O_RDWR | O_CREAT | O_EXCL, 0600), EOPNOTSUPP,
		    "an attachment in the range");
	check(untouched(name) && value_at(a + GIB) == 5, "an attachment: nothing has changed");
	must(mshare_detach(a + GIB) == 0);

	/* A name that is taken, by a region and by a directory. */
	int taken = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	must(taken >= 0);
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
		    "the name is taken");
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT, 0600), ENODATA,
		    "the name is a region without a window");
	must(mshare_reserve(taken, a, GIB) == 0);
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT, 0600), EADDRINUSE,
		    "the region exists, and the caller has memory there");
	check_eq(info_of(taken).attachments, 0, "nothing is attached");
	close(taken);
	must(mshare_unlink(name) == 0);
	check(untouched(name), "nothing has changed");
	must(mshare_mkdir(name, 0700) == 0);
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
		    "the name is a directory");
	must(mshare_rmdir(name) == 0);

	/* No memory for the contents: 16 MiB there are. */
	char *big = mmap(a + 200 * MIB, 64 * MIB, RW,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	must(big == a + 200 * MIB);
	for (size_t o = 0; o < 64 * MIB; o += P)
		*(volatile char *)(big + o) = (char)(o / P);
	uint64_t left = bytes_free(root);

	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600), ENOSPC,
		    "more memory than the root has");
	note("%s", mshare_errmsg());
	check(strpbrk(mshare_errmsg(), "0123456789") != NULL, "with the numbers");
	bool kept = true;

	for (size_t o = 0; o < 64 * MIB; o += P)
		kept = kept && *(volatile char *)(big + o) == (char)(o / P);
	check(untouched(name) && kept, "nothing has changed, all bytes are there");
	check_eq(bytes_free(root), left, "and the root has what it had");
	munmap(big, 64 * MIB);

	/*
	 * More mappings than a region may have: on msharefs that is as many as a
	 * process may, so that all are kept.
	 */
	size_t n = 16400; /* each page is one */

	must(mount("mshare-test", root, root_type(), MS_REMOUNT | MS_NOSUID | MS_NODEV,
		   "size=512m") == 0);
	char *many = mmap(a + 200 * MIB, n * P, PROT_READ,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	must(many == a + 200 * MIB);
	for (size_t i = 0; i < n; i += 2)
		must(mprotect(many + i * P, P, RW) == 0);
	if (on_shm()) {
		check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600), E2BIG,
			    "more mappings than a region may have");
		check(untouched(name), "nothing has changed");
		munmap(many, n * P);
	} else {
		check(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600) == 0 &&
			      store(many, 1) == 0 && store(many + P, 1) == SIGSEGV &&
			      load(many + (n - 1) * P, NULL) == 0,
		      "16,400 mappings");
		check(mshare_detach(a) == 0 && mshare_unlink(name) == 0, "detach");
		lay_out();
	}
	check(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600) == 0 && value_at(a) == 11,
	      "after all of that it works");
	check(mshare_detach(a) == 0, "detach");
	return done();
}
