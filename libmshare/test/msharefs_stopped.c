/* SPDX-License-Identifier: MIT */
/*
 * Rule 3 with one set of page tables: no attacher has to do anything for a change,
 * so none is waited for. One that is stopped, by a signal or by a debugger, one
 * that has no room for another mapping, one that dumps core: each change is at
 * once, by its address in all of them, and there are no stragglers. What was in
 * the window is not in the core.
 */
#include "map_util.h"
#include "party_util.h"

#include <dirent.h>
#include <sys/ptrace.h>

static size_t P;
static const char *name, *directory;

/* Map, protect, unmap: none waits, and all of it is there. */
static bool changes(int fd, char *w)
{
	struct mshare_info i;
	bool good = mshare_unmap(fd, 0, 64 * P) == 0 &&
		    mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0 && store(w, 7) == 0 &&
		    mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0 && store(w + 8 * P, 8) == 0 &&
		    mshare_protect(fd, 8 * P, P, PROT_READ) == 0 &&
		    mshare_advise(fd, P, P, MADV_REMOVE) == 0 && mshare_unmap(fd, 2 * P, P) == 0;

	i = info_of(fd);
	return good && i.stragglers == 0 && i.mapped == 4 * P;
}

static bool arrived(struct peer *p, char *w)
{
	uint64_t one = 0, other = 0;

	return p_load(p, w, &one) == 0 && one == 7 && p_load(p, w + 8 * P, &other) == 0 &&
	       other == 8 && p_store(p, w + 8 * P, 1) == SIGSEGV &&
	       p_load(p, w + 2 * P, NULL) == SIGSEGV;
}

/* A process that has as many mappings as it can. */
static int crowded(void *arg)
{
	size_t limit = *(size_t *)arg, i = 0, size = 2 * limit * P;
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);
	char *ballast = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			     0);

	must(w != MAP_FAILED && ballast != MAP_FAILED);
	while (i < limit && mprotect(ballast + 2 * i * P, P, PROT_READ) == 0)
		i++;
	must(i < limit && errno == ENOMEM);
	party_report(0);
	check(load(w, NULL) == 0 && load(w + 8 * P, NULL) == 0 &&
		      load(w + 2 * P, NULL) == SIGSEGV && load(w + 63 * P, NULL) == 0,
	      "it has every change");
	must(munmap(ballast, size) == 0);
	check(info_of(fd).attachment_errno == 0, "and has given up nothing");
	check(mshare_detach(w) == 0, "detach");
	return 0;
}

static int dumper(void *arg)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);

	(void)arg;
	must(w != MAP_FAILED && chdir(directory) == 0);
	must(setrlimit(RLIMIT_CORE, &unlimited) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	signal(SIGABRT, SIG_DFL);
	party_report(0);
	abort();
}

/* How often the eight bytes are in the core, which is removed; -1: there is none. */
static long in_core(uint64_t mark)
{
	static char buffer[1 << 20];
	DIR *dir = opendir(directory);
	struct dirent *entry;
	long found = -1;

	must(dir != NULL);
	while ((entry = readdir(dir))) {
		ssize_t n;
		int f = strncmp(entry->d_name, "core", 4)
				? -1
				: openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);

		if (f == -1)
			continue;
		for (found = 0; (n = read(f, buffer, sizeof(buffer))) > 0;)
			for (ssize_t i = 0; i + 8 <= n; i += 8)
				found += !memcmp(buffer + i, &mark, 8);
		close(f);
		unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
	return found;
}

static size_t number_in(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t number = 0;

	must(f && fscanf(f, "%zu", &number) == 1);
	fclose(f);
	return number;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	name = unique("region");
	directory = temp_path("cores");
	int fd = region_new(name, GIB), status;

	must(mkdir(directory, 0700) == 0);
	probe_prepare();
	/* Before there is an attachment to inherit. */
	size_t limit = number_in("/proc/sys/vm/max_map_count");
	struct party c = party_start(crowded, &limit), d = party_start(dumper, NULL);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer p = peer_exec();

	must(w != MAP_FAILED && mshare_set_timeout(1) == 0);
	must(p_attach(&p, p_open(&p, name, O_RDWR, 0), NULL, RW, 0) == w);

	p_stop(&p);
	check(changes(fd, w), "an attacher is stopped by a signal: changes, and nobody behind");
	p_continue(&p);
	check(arrived(&p, w), "continued, it has them");

	must(ptrace(PTRACE_SEIZE, p.pid, 0, 0) == 0 && ptrace(PTRACE_INTERRUPT, p.pid, 0, 0) == 0);
	must(waitpid(p.pid, &status, __WALL) == p.pid && WIFSTOPPED(status));
	check(changes(fd, w), "by a debugger: the same");
	errno = 0;
	check(ptrace(PTRACE_PEEKDATA, p.pid, w, 0) == 7 && errno == 0 &&
		      ptrace(PTRACE_PEEKDATA, p.pid, w + 8 * P, 0) == 8 && errno == 0,
	      "which sees them in the process that stands");
	check(ptrace(PTRACE_PEEKDATA, p.pid, w + 2 * P, 0) == -1 && errno == EIO,
	      "and that there is a hole");
	must(ptrace(PTRACE_DETACH, p.pid, 0, 0) == 0);
	check(arrived(&p, w), "let go, it has them");

	must(party_await(&c) == 0);
	bool all = changes(fd, w);

	for (size_t i = 9; i < 64; i += 2)
		all = all && mshare_map(fd, i * P, P, i % 4 == 1 ? RW : PROT_READ, 0, -1, 0) == 0;
	check(all, "one has no room for another mapping: changes");
	party_go(&c, 0);
	check(exited(party_end(&c), 0), "it has them");

	/* The mark is in nobody's memory but the window's: made after the fork, by halves. */
	uint64_t mark = (uint64_t)getpid() << 40 | (uint64_t)now_ms() << 8 | 0x5d;

	must(changes(fd, w) && party_await(&d) == 0);
	for (size_t i = 0; i < P; i += 8)
		must(store(w + i, mark) == 0);
	party_go(&d, 0);
	check(mshare_protect(fd, 0, P, PROT_READ) == 0 &&
		      mshare_map(fd, 9 * P, P, RW, 0, -1, 0) == 0,
	      "one dumps core: changes");
	status = party_end(&d);
	check(WIFSIGNALED(status) && WCOREDUMP(status), "it dumped core");
	check_eq(in_core(mark), 0, "without what was in the window");
	check(rmdir(directory) == 0, "the core is removed");
	check_eq(info_of(fd).attachments, 2, "its attachment is gone");
	check(p_end(&p) && mshare_detach(w) == 0 && info_of(fd).attachments == 0, "nobody is left");
	return done();
}
