/* SPDX-License-Identifier: MIT */
/*
 * Rule 12: a memory cgroup that is too small. On shm: ENOSPC with the numbers, and
 * no OOM kill. On msharefs, where memory is the cgroup's that made the region: a
 * touch that it cannot pay for is SIGBUS to who touches, in whatever cgroup.
 * v1 or v2, whichever is here and writable.
 */
#include "test.h"

#include <sys/sysinfo.h>

#define LIMIT (96 * MIB)

static char group[PATH_MAX];
static bool v2;

static bool put(const char *file, const char *text)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return good;
}

static long get(const char *file, const char *key)
{
	char path[PATH_MAX + 64], line[256];
	long n = -1;

	snprintf(path, sizeof(path), "%s/%s", group, file);
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key))) {
			n = strtol(line + strlen(key), NULL, 10);
			break;
		}
	fclose(f);
	return n;
}

/* Where this process is: "memory" of v1, or the unified hierarchy. */
static bool find(char *out, size_t size, bool unified)
{
	char line[PATH_MAX + 64], mount[PATH_MAX] = "", own[PATH_MAX] = "", below[PATH_MAX] = "";
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		char *names = strchr(line, ':');
		char *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		names++;
		if (unified ? !*names : strstr(names, "memory") != NULL)
			snprintf(own, sizeof(own), "%s", path);
	}
	fclose(f);
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		char root[PATH_MAX], at_[PATH_MAX];

		if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, at_) != 2)
			continue;
		char *tail = strstr(line, " - ");

		if (!tail)
			continue;
		if (unified ? !strncmp(tail, " - cgroup2 ", 11)
			    : !strncmp(tail, " - cgroup ", 10) && strstr(tail, "memory")) {
			snprintf(mount, sizeof(mount), "%s", at_);
			snprintf(below, sizeof(below), "%s", root);
		}
	}
	fclose(f);
	if (!*mount || !*own)
		return false;
	/* The mount may show only a part of the hierarchy. */
	const char *rel = own;

	if (strcmp(below, "/") && !strncmp(own, below, strlen(below)))
		rel = own + strlen(below);
	snprintf(out, size, "%.2000s%.2000s", mount, strcmp(rel, "/") ? rel : "");
	return true;
}

static bool enter(void)
{
	char parent[PATH_MAX], limit[32], pid[16];

	for (int unified = 0; unified < 2; unified++) {
		if (!find(parent, sizeof(parent), unified))
			continue;
		snprintf(group, sizeof(group), "%.4000s/mshare-test-%d", parent, (int)getpid());
		if (unified) {
			/* A cgroup with processes in it gives controllers to none below. */
			char path[PATH_MAX + 32];

			snprintf(path, sizeof(path), "%s/cgroup.subtree_control", parent);
			int fd = open(path, O_WRONLY | O_CLOEXEC);

			if (fd < 0 || write(fd, "+memory", 7) != 7)
				note("no memory controller below %s: %s", parent, strerror(errno));
			if (fd >= 0)
				close(fd);
		}
		if (mkdir(group, 0755) != 0) {
			note("mkdir %s: %s", group, strerror(errno));
			continue;
		}
		snprintf(limit, sizeof(limit), "%zu", (size_t)LIMIT);
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		v2 = unified;
		if (put(v2 ? "memory.max" : "memory.limit_in_bytes", limit)) {
			/* Without swap, so that the limit is one. */
			if (v2)
				put("memory.swap.max", "0");
			if (put("cgroup.procs", pid))
				return true;
		}
		note("%s cannot be used: %s", group, strerror(errno));
		rmdir(group);
	}
	return false;
}

static void step_out(void)
{
	char up[PATH_MAX + 32], pid[16];

	snprintf(up, sizeof(up), "%s", group);
	*strrchr(up, '/') = 0;
	strcat(up, "/cgroup.procs");
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	int fd = open(up, O_WRONLY | O_CLOEXEC);

	must(fd >= 0 && write(fd, pid, strlen(pid)) == (ssize_t)strlen(pid));
	close(fd);
}

static void leave(void)
{
	step_out();
	for (int i = 0; i < 100 && rmdir(group) != 0 && errno == EBUSY; i++)
		usleep(20000);
}

static long oom_kills(void)
{
	return v2 ? get("memory.events", "oom_kill ") : get("memory.oom_control", "oom_kill ");
}

/* In the cgroup, in a child, so that an OOM kill would be the child's. */
static int inside(void *arg)
{
	const char *name = arg;
	size_t P = page();
	int fd = mshare_open(name, O_RDWR, 0);

	if (fd < 0)
		return 2;
	char *w = mshare_attach(fd, NULL, RW, 0);

	if (w == MAP_FAILED)
		return 3;
	uint64_t resident = info_of(fd).resident;

	if (mshare_map(fd, 0, 256 * MIB, RW, 0, -1, 0) != -1 || errno != ENOSPC) {
		note("map of 256 MiB under a limit of 96: errno %d (%s)", errno, mshare_errmsg());
		return 4;
	}
	note("%s", mshare_errmsg());
	if (!strpbrk(mshare_errmsg(), "0123456789"))
		return 5;
	if (info_of(fd).mapped || info_of(fd).resident > resident + MIB) {
		note("mapped %" PRIu64 ", resident %" PRIu64 " after, %" PRIu64 " before",
		     info_of(fd).mapped, info_of(fd).resident, resident);
		return 6;
	}
	/* What fits goes. */
	if (mshare_map(fd, 0, 16 * MIB, RW, 0, -1, 0) || store(w + 16 * MIB - P, 1))
		return 7;
	if (mshare_map(fd, GIB / 2, 128 * MIB, RW, 0, -1, 0) != -1 || errno != ENOSPC)
		return 8;
	if (mshare_map(fd, GIB / 2, 128 * MIB, RW, MSHARE_MAP_NORESERVE, -1, 0))
		return 9;
	if (mshare_unmap(fd, 0, GIB))
		return 10;
	return 0;
}

/* In the cgroup: a region that is the cgroup's to pay for. */
static int make(void *arg)
{
	int fd = mshare_open(arg, O_RDWR | O_CREAT | O_EXCL, 0600);

	if (fd < 0 || mshare_reserve(fd, NULL, GIB))
		return 2;
	return mshare_map(fd, 0, 256 * MIB, RW, 0, -1, 0) ? 3 : 0;
}

static void toucher_outside(void)
{
	const char *name = unique("the-cgroups");
	size_t P = page(), touched = 0;
	int sig = 0;

	if (!enter()) {
		lacking("rule 12: a touch that the region's cgroup cannot pay for",
			"no memory cgroup can be made here, v1 or v2");
		return;
	}
	note("%s", group);
	int status = in_child(make, (void *)(uintptr_t)name);

	step_out();
	check(exited(status, 0), "rule 12: 256 MiB are accounted to a cgroup of 96 MiB");
	long before = oom_kills();
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	for (size_t o = 0; o < 256 * MIB && !sig; o += P) {
		sig = store(w + o, o);
		touched += !sig;
	}
	check(sig == SIGBUS && touched * P > LIMIT / 2 && touched * P <= LIMIT,
	      "rule 12: a touch that the region's cgroup cannot pay for is SIGBUS (after %zu MiB)",
	      touched * P / MIB);
	check_error(mshare_advise(fd, 0, 256 * MIB, MADV_POPULATE_WRITE), ENOSPC,
		    "rule 12: MADV_POPULATE_WRITE of it is ENOSPC");
	check(value_at(w + P) == P && store(w + P, 1) == 0, "rule 12: what is there stays");
	check(mshare_unmap(fd, 0, 64 * MIB) == 0 && store(w + touched * P, 1) == 0,
	      "rule 12: with some of it unmapped there is room");
	check(oom_kills() == before, "rule 12: the OOM killer has killed nobody");
	check(mshare_detach(w) == 0, "detach");
	close(fd);
	must(mshare_unlink(name) == 0);
	leave();
	check(access(group, F_OK) != 0, "the cgroup is gone");
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (!on_shm()) {
		toucher_outside();
		return done();
	}
	const char *name = unique("region");
	int fd = region_new(name, GIB);

	if (!enter())
		skip_all("no memory cgroup can be made here, v1 or v2");
	note("%s", group);
	long before = oom_kills();
	int status = in_child(inside, (void *)(uintptr_t)name);
	long after = oom_kills();

	leave();
	if (!check(exited(status, 0), "rule 12: more than the cgroup has: ENOSPC with numbers, and "
				      "what fits is mapped"))
		note("  wait status %#x", status);
	check(before >= 0 && after == before, "rule 12: the OOM killer was not called (%ld, %ld)",
	      before, after);
	check(access(group, F_OK) != 0, "the cgroup is gone");
	/* Outside, the same map is fine. */
	struct sysinfo si;

	must(sysinfo(&si) == 0);
	if (si.freeram * (uint64_t)si.mem_unit > GIB)
		check(mshare_map(fd, 0, 256 * MIB, RW, 0, -1, 0) == 0 &&
			      mshare_unmap(fd, 0, GIB) == 0,
		      "rule 12: outside the cgroup the same map is fine");
	else
		skip("rule 12: outside the cgroup", "less than 1 GiB of memory is free");
	return done();
}
