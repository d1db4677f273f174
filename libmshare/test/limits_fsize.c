/* SPDX-License-Identifier: MIT */
/*
 * Bad input: RLIMIT_FSIZE. A window is a file's size on the shm back end: EFBIG,
 * and never SIGXFSZ, which would kill the program. On msharefs it is none, and the
 * limit means nothing.
 */
#include "test.h"

static size_t P;
static const char *name, *young;
static bool sized; /* does the limit mean anything? */
static volatile sig_atomic_t signals;

static void on_xfsz(int sig)
{
	(void)sig;
	signals++;
}

/* Under a limit of `arg` bytes; the signal would be counted. */
static int limited(void *arg)
{
	struct rlimit rl = {(rlim_t)(uintptr_t)arg, RLIM_INFINITY};
	struct sigaction sa = {.sa_handler = on_xfsz};
	int fd = mshare_open(name, O_RDWR, 0), born = mshare_open(young, O_RDWR, 0);
	int nameless = mshare_create(0, 0600), r;
	bool tiny = sized && rl.rlim_cur < MIB;

	if (fd < 0 || born < 0 || nameless < 0)
		return 2;
	char *w = mshare_attach(fd, NULL, RW, 0);

	if (w == MAP_FAILED)
		return 3;
	sigaction(SIGXFSZ, &sa, NULL);
	/* The limit is the process's: output to the log would meet it too. */
	if (setrlimit(RLIMIT_FSIZE, &rl))
		return 4;
	errno = 0;
	if (sized && (mshare_reserve(born, NULL, GIB) != -1 || errno != EFBIG))
		return 5;
	if (info_of(born).window != 0)
		return 6;
	errno = 0;
	r = mshare_reserve(nameless, NULL, 4 * GIB);
	if (sized ? r != -1 || errno != EFBIG : r != 0)
		return 7;
	/* A region that another process reserved, its file larger than the limit. */
	r = mshare_map(fd, 8 * P, P, RW, 0, -1, 0);
	if (r != 0 && !(tiny && errno == EFBIG))
		return 8;
	if (load(w + 8 * P, NULL) != (r == 0 ? 0 : SIGSEGV))
		return 9;
	if (r == 0 && store(w + 8 * P, 1) != 0)
		return 10;
	r = mshare_protect(fd, 0, P, PROT_READ);
	if (r != 0 && !(tiny && errno == EFBIG))
		return 11;
	if (store(w, 1) != (r == 0 ? SIGSEGV : 0))
		return 12;
	r = mshare_advise(fd, P, P, 23 /* MADV_POPULATE_WRITE */);
	if (r != 0 && !(tiny && errno == EFBIG))
		return 13;
	r = mshare_unmap(fd, 0, 16 * P);
	if (r != 0 && !(tiny && errno == EFBIG))
		return 14;
	if (signals)
		return 15;
	/* A child, and a second view: attaching writes nothing. */
	char *v = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	if (v == MAP_FAILED || mshare_detach(v))
		return 16;
	if (mshare_detach(w))
		return 17;
	return signals ? 18 : 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	sized = on_shm();
	name = unique("region");
	young = unique("young");
	int fd = region_new(name, GIB), born = region_new(young, 0);
	static const rlim_t limits[] = {0, 1, 4096, 8192, 65536, 1 << 20, 1 << 28, 1 << 30};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		must(mshare_unmap(fd, 0, GIB) == 0 && mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
		int status = in_child(limited, (void *)(uintptr_t)limits[i]);

		if (!check(exited(status, 0), "RLIMIT_FSIZE %" PRIu64 ": %s, no SIGXFSZ",
			   (uint64_t)limits[i], sized ? "EFBIG" : "no matter"))
			note("  wait status %#x (%d)", status, WEXITSTATUS(status));
		check(info_of(fd).attachments == 0 && info_of(born).window == 0,
		      "nothing is left of it (%" PRIu64 ")", (uint64_t)limits[i]);
	}
	check(mshare_reserve(born, NULL, GIB) == 0, "without the limit it can be reserved");
	char *w = mshare_attach(fd, NULL, RW, 0);

	check(w != MAP_FAILED && mshare_map(fd, 100 * P, P, RW, 0, -1, 0) == 0 &&
		      store(w + 100 * P, 1) == 0 && mshare_detach(w) == 0,
	      "and the other goes on");
	return done();
}
