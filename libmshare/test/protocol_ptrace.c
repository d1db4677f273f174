/* SPDX-License-Identifier: MIT */
/*
 * The protocol: an attacher under a debugger. With its main thread stopped, its
 * service goes on and changes do not wait; with all its threads stopped, they do.
 */
#include "map_util.h"
#include "party_util.h"

#include <dirent.h>
#include <sys/ptrace.h>

static pid_t seized[16];
static int count;

static void stop_thread(pid_t tid)
{
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0) != 0) {
		if (errno == EPERM && !ci())
			skip_all("ptrace is not permitted here");
		must(!"PTRACE_SEIZE");
	}
	must(ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0);
	must(waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status));
	seized[count++] = tid;
}

static void stop_rest(pid_t pid)
{
	char path[64];
	struct dirent *entry;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	DIR *dir = opendir(path);

	must(dir != NULL);
	while ((entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);

		/* TSan has a thread of its own. */
		if (tid && tid != pid && count < 16)
			stop_thread(tid);
	}
	closedir(dir);
}

static void let_go(void)
{
	while (count)
		must(ptrace(PTRACE_DETACH, seized[--count], 0, 0) == 0);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	struct peer p = peer_exec();
	int there = p_open(&p, name, O_RDWR, 0);
	char *w = p_attach(&p, there, NULL, RW, 0);

	must(w != MAP_FAILED && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	stop_thread(p.pid);
	mshare_set_timeout(30000);
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0,
	      "the main thread is stopped: changes go on");
	check_eq(info_of(fd).stragglers, 0, "and arrive");
	stop_rest(p.pid);
	check(count >= 2, "all threads are stopped (%d)", count);
	mshare_set_timeout(200);
	check_error(mshare_map(fd, 16 * P, P, RW, 0, -1, 0), ETIMEDOUT, "a change");
	check(errmsg_has_number(p.pid), "names the process: \"%s\"", mshare_errmsg());
	check_error(mshare_map(fd, 17 * P, P, RW, 0, -1, 0), EBUSY, "a second");
	let_go();
	mshare_set_timeout(30000);
	check(mshare_map(fd, 17 * P, P, RW, 0, -1, 0) == 0, "let go: changes go on");
	check(p_load(&p, w + 8 * P, NULL) == 0 && p_load(&p, w + 16 * P, NULL) == 0 &&
		      p_load(&p, w + 17 * P, NULL) == 0,
	      "and all have arrived");

	/* The debugger's own view, while the process stands. */
	must(p_store(&p, w, 42) == 0);
	stop_thread(p.pid);
	errno = 0;
	long word = ptrace(PTRACE_PEEKDATA, p.pid, w, 0);

	check(word == 42 && errno == 0, "the window can be read by ptrace");
	check(ptrace(PTRACE_POKEDATA, p.pid, w, 43) == 0, "and written");
	let_go();
	uint64_t value = 0;

	check(p_load(&p, w, &value) == 0 && value == 43, "for the process");
	check(p_end(&p), "it ends well");
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
