/* SPDX-License-Identifier: MIT */
/*
 * The protocol: where a thread cannot have a descriptor table of its own (a
 * seccomp filter that knows no close_range), attach fails, and the program's
 * descriptor is still the program's. Changes go on: they need no such thread.
 */
#include "map_util.h"
#include "party_util.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

static void close_range_forbidden(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = code};

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static int confined(void *arg)
{
	int fd = *(int *)arg;
	size_t P = page();
	struct mshare_info info = info_of(fd);

	close_range_forbidden();
	check_error((int64_t)mshare_attach(fd, NULL, RW, 0), EPERM, "attach");
	check(fcntl(fd, F_GETFD) != -1, "the descriptor is still open");
	check(!contains_mapping((void *)(uintptr_t)info.base, info.window), "nothing is mapped");
	party_report(0);
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0 && mshare_unmap(fd, 8 * P, P) == 0,
	      "changes go on");
	check(MAPPED_IS(fd, {0, 4 * P, RW, 0}), "as does the rest");
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	int fd = region_new(unique("region"), GIB);

	must(mshare_map(fd, 0, 4 * page(), RW, 0, -1, 0) == 0);
	struct party p = party_start(confined, &fd);

	check_eq(party_await(&p), 0,
		 "no table of one's own: attach fails, and the descriptor stays open");
	party_go(&p, 0);
	check(exited(party_end(&p), 0), "changes work without");
	check_eq(info_of(fd).attachments, 0, "nobody is attached");
	return done();
}
