/* SPDX-License-Identifier: MIT */
/*
 * The protocol: an attacher that dumps core stands still meanwhile. A change
 * waits for it and then succeeds. What is in the window is not in the core.
 */
#include "map_util.h"
#include "party_util.h"

#include <dirent.h>

#define BALLAST (256 * MIB)

static const char *name, *directory;

static int dumper(void *arg)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);

	(void)arg;
	must(w != MAP_FAILED && chdir(directory) == 0);
	must(setrlimit(RLIMIT_CORE, &unlimited) == 0);
	must(prctl(PR_SET_DUMPABLE, 1) == 0);
	/* That it takes a while. */
	uint64_t *ballast = mmap(NULL, BALLAST, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(ballast != MAP_FAILED);
	for (size_t i = 0; i < BALLAST / 8; i++)
		ballast[i] = i;
	party_report((int64_t)(uintptr_t)w);
	signal(SIGABRT, SIG_DFL);
	abort();
}

/* The core's size so far; 0: there is none yet. */
static off_t core_size(char *path)
{
	DIR *dir = opendir(directory);
	struct dirent *entry;
	struct stat st;
	off_t size = 0;

	must(dir != NULL);
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "core", 4)) {
			snprintf(path, PATH_MAX, "%s/%s", directory, entry->d_name);
			if (stat(path, &st) == 0)
				size = st.st_size;
		}
	closedir(dir);
	return size;
}

int main(int argc, char **argv)
{
	static char buffer[1 << 20], path[PATH_MAX];
	char pattern[128] = "";
	int f = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);

	begin(argc, argv);
	if (f < 0 || read(f, pattern, sizeof(pattern) - 1) <= 0)
		skip_all("cannot read /proc/sys/kernel/core_pattern");
	close(f);
	pattern[strcspn(pattern, "\n")] = 0;
	if (strncmp(pattern, "core", 4) || strchr(pattern, '/'))
		skip_all("core dumps of this system go elsewhere (core_pattern is \"%s\")",
			 pattern);
	if (TEST_ASAN || TEST_TSAN)
		skip_all("a core of the sanitizer's shadow memory would be terabytes");
	name = unique("region");
	directory = temp_path("cores");
	must(mkdir(directory, 0700) == 0);
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, MIB, RW, 0, -1, 0) == 0);
	struct party p = party_start(dumper, NULL);

	must(party_await(&p) > 0);
	/* Made after the fork, so that it is nowhere in the dumper but in the window. */
	uint64_t mark = ((uint64_t)getpid() << 40 ^ UINT64_C(0x5eed) << 24 ^ now_ms()) | 1;

	for (size_t i = 0; i < MIB; i += 8)
		must(pwrite(fd, &mark, 8, (off_t)(GIB + i)) == 8);
	must(mshare_protect(fd, 0, MIB, PROT_READ) == 0);
	check_eq(info_of(fd).attachments, 1, "one is attached");
	party_go(&p, 0);
	for (int i = 0; i < 60000 && core_size(path) == 0; i++)
		usleep(1000);
	if (core_size(path) == 0) {
		party_kill(&p);
		rmdir(directory);
		skip_all("no core was dumped");
	}
	mshare_set_timeout(0);
	check(mshare_protect(fd, 0, MIB, RW) == 0, "a change while it dumps core succeeds");
	off_t then = core_size(path);
	int status = party_end(&p);

	check(WIFSIGNALED(status) && WCOREDUMP(status), "it dumped core");
	check_eq(then, core_size(path), "the change waited until the core was whole");
	check(then > (off_t)BALLAST, "the core is large (%lld bytes)", (long long)then);
	struct mshare_info info = info_of(fd);

	check(info.attachments == 0 && info.stragglers == 0, "its attachment is gone");
	f = open(path, O_RDONLY | O_CLOEXEC);
	must(f >= 0);
	long found = 0;
	ssize_t n;

	while ((n = read(f, buffer, sizeof(buffer))) > 0)
		for (ssize_t i = 0; i + 8 <= n; i += 8)
			found += !memcmp(buffer + i, &mark, 8);
	close(f);
	check_eq(found, 0, "what was in the window is not in the core");
	check(unlink(path) == 0 && rmdir(directory) == 0, "the core is removed");
	return done();
}
