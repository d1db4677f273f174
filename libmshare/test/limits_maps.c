/* SPDX-License-Identifier: MIT */
/*
 * Bad input: vm.max_map_count. In a process that is full of mappings attach is
 * a clear error. A change that an attacher at the limit cannot apply costs it its
 * attachment, with the reason, and holds up nobody; with shared page tables there
 * is nothing for it to apply.
 */
#include "map_util.h"

static size_t P;
static char *hole_puncher;
static size_t punched, pages;

static long most_mappings(void)
{
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	long most = -1;

	must(f && fscanf(f, "%ld", &most) == 1);
	fclose(f);
	return most;
}

/* Mappings up to the limit: every second page of a large one differs. */
static void fill(void)
{
	pages = (size_t)most_mappings() + 16;
	hole_puncher = mmap(NULL, (pages + 1) * P, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (hole_puncher == MAP_FAILED)
		_exit(50);
	for (punched = 0; punched < pages; punched += 2)
		if (mprotect(hole_puncher + punched * P, P, PROT_READ) != 0)
			break;
	if (punched >= pages || errno != ENOMEM)
		_exit(51);
	/* A split is refused while there is room for one more. */
	munmap(hole_puncher + pages * P, P);
	if (mmap(hole_puncher + pages * P, P, PROT_READ | PROT_EXEC,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		_exit(52);
}

static void unfill(void)
{
	munmap(hole_puncher, (pages + 1) * P);
}

/* At the limit, not attached: attach is refused, and nothing else is lost. */
static int attach_at_limit(void *arg)
{
	int fd = (int)(uintptr_t)arg;

	fill();
	errno = 0;
	void *w = mshare_attach(fd, NULL, RW, 0);

	if (w != MAP_FAILED || errno != ENOMEM || mshare_errno() != ENOMEM)
		return 2;
	if (strlen(mshare_errmsg()) < 10)
		return 3;
	if (info_of(fd).attachments != 1)
		return 4;
	/* Changes are for who holds the descriptor, attached or not. */
	if (mshare_map(fd, 900 * P, P, RW, 0, -1, 0) != 0 && errno != ENOMEM && errno != EAGAIN)
		return 5;
	unfill();
	w = mshare_attach(fd, NULL, RW, 0);
	if (w == MAP_FAILED || load(w, NULL) != 0 || mshare_detach(w) != 0)
		return 6;
	return mshare_unmap(fd, 900 * P, P) ? 7 : 0;
}

struct talk {
	int fd;
	char *w;
	struct line full, changed;
	bool shared;
};

/* At the limit, attached: the change comes. */
static int attached_at_limit(void *arg)
{
	struct talk *t = arg;
	struct mshare_info i;

	char *w = mshare_attach(t->fd, NULL, RW, 0);

	if (w != t->w || load(w, NULL) != 0)
		return 2;
	fill();
	line_ring(t->full);
	line_wait(t->changed);
	if (t->shared) {
		i = info_of(t->fd);
		if (load(w, NULL) || load(w + 100 * P, NULL) || i.attachment_errno)
			return 10;
		unfill();
		return mshare_detach(w) ? 9 : 0;
	}
	/* What it had is inaccessible as a whole: never stale. */
	if (load(w, NULL) != SIGSEGV || load(w + 100 * P, NULL) != SIGSEGV)
		return 3;
	unfill();
	i = info_of(t->fd);
	if (i.attachment_errno != ENOMEM) {
		note("attachment_errno %d", i.attachment_errno);
		return 4;
	}
	if (load(w, NULL) != SIGSEGV)
		return 5;
	/* The way out, and in again. */
	if (mshare_detach(w) != 0)
		return 6;
	if (info_of(t->fd).attachment_errno != 0)
		return 7;
	if (mshare_attach(t->fd, NULL, RW, 0) != w || load(w, NULL) != 0 ||
	    load(w + 100 * P, NULL) != 0)
		return 8;
	return mshare_detach(w) ? 9 : 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	if (TEST_TSAN)
		skip_all(
			"ThreadSanitizer itself cannot go on when the process has no mapping left");
	if (most_mappings() > 2000000)
		skip_all("vm.max_map_count is %ld: too large to be reached", most_mappings());
	const char *name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_NOFORK);

	must(w != MAP_FAILED && store(w, 1) == 0);
	int status;

	if (TEST_ASAN) {
		skip("attach in a process full of mappings",
		     "AddressSanitizer's malloc() ends a process that has no mapping left");
	} else {
		status = in_child(attach_at_limit, (void *)(uintptr_t)fd);
		if (!check(exited(status, 0), "attach in a process full of mappings: ENOMEM"))
			note("  wait status %#x (%d)", status, WEXITSTATUS(status));
	}

	struct talk t = {
		.fd = fd,
		.w = w,
		.full = line_new(),
		.changed = line_new(),
		.shared = shares_tables(),
	};
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(attached_at_limit(&t));
	line_wait(t.full);
	check_eq(info_of(fd).attachments, 2, "a process full of mappings is attached");
	uint64_t start = now_ms();

	/* 40 mappings more than it can have, a few at a time. */
	bool good = true;

	for (size_t i = 0; i < 20 && good; i++)
		good = mshare_map(fd, (100 + 4 * i) * P, P, RW, 0, -1, 0) == 0 &&
		       mshare_map(fd, (102 + 4 * i) * P, P, PROT_READ, 0, -1, 0) == 0;
	check(good, "rule 3: changes that it cannot apply succeed");
	check(now_ms() - start < 5000, "and do not wait for it (%" PRIu64 " ms)", now_ms() - start);
	check(load(w + 100 * P, NULL) == 0 && store(w + 176 * P, 1) == 0 && value_at(w) == 1,
	      "they are in force here");
	struct mshare_info i = info_of(fd);

	check(i.stragglers == 0 && i.attachment_errno == 0,
	      "nobody is behind, and this one is well");
	line_ring(t.changed);
	must(waitpid(pid, &status, 0) == pid);
	if (!check(exited(status, 0),
		   t.shared ? "its attachment is well"
			    : "its attachment was given up: inaccessible, attachment_errno ENOMEM; "
			      "detached, attached again"))
		note("  wait status %#x (%d)", status, WEXITSTATUS(status));
	check_eq(info_of(fd).attachments, 1, "one is left");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
