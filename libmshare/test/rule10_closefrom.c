/* SPDX-License-Identifier: MIT */
/*
 * Rule 10: what an attachment needs is out of the program's reach, but for the
 * descriptor that a child needs on shm. closefrom() in an attached process changes
 * nothing, nor in its children what they can have; and the library later closes no descriptor that
 * is not its own.
 */
#include "map_util.h"
#include "party_util.h"

static const char *name;

static int closer(void *arg)
{
	size_t P = page();
	int fd = mshare_open(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : mshare_attach(fd, NULL, RW, 0);

	(void)arg;
	must(w != MAP_FAILED);
	must(dup2(party_sock, 0) == 0);
	party_sock = 0;
	must(syscall(SYS_close_range, 3, ~0U, 0) == 0);
	party_report(0);
	check(load(w + 8 * P, NULL) == 0, "changes reach it");
	/* On shm its descriptor for that has gone. */
	int window = on_shm() ? SIGSEGV : 0, reason = on_shm() ? EBADF : 0;
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		_exit(load(w, NULL));
	int status;

	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, window), "a child takes part, or has nothing: never stale");

	/* Every low number is another file's now. */
	int others[64], count = 0;

	for (int i = 0; i < 64; i++) {
		others[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		must(others[i] > 0);
	}
	pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		bool good = load(w, NULL) == window;

		fd = mshare_open(name, O_RDWR, 0);
		struct mshare_info info = info_of(fd);

		_exit(good && info.attachment_errno == reason ? 0 : 1);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "mshare_info says why in the child");
	check(load(w + 8 * P, NULL) == 0, "the parent's goes on");
	party_report(0);
	check(load(w + 9 * P, NULL) == 0, "and on");
	check(mshare_detach(w) == 0, "detach");
	for (int i = 0; i < 64; i++)
		count += fcntl(others[i], F_GETFD) != -1;
	check(count == 64, "detach closed none of the program's descriptors (%d of 64 left)",
	      count);
	party_report(count);
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();

	name = unique("region");
	int fd = region_new(name, GIB);

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	struct party p = party_start(closer, NULL);

	must(party_await(&p) == 0);
	check_eq(info_of(fd).attachments, 1, "closefrom(3): the attachment is still counted");
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0, "a change is made");
	check_eq(party_next(&p, 0), 0, "closefrom(3): the attachment follows it");
	check(mshare_map(fd, 9 * P, P, RW, 0, -1, 0) == 0, "another change");
	check_eq(party_next(&p, 0), 64, "detach closes what is its own and nothing else");
	check_eq(info_of(fd).attachments, 0, "it is gone");
	party_go(&p, 0);
	check(exited(party_end(&p), 0), "the process ends well");
	return done();
}
