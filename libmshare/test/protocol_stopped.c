/* SPDX-License-Identifier: MIT */
/*
 * The protocol: no change is published while an earlier one is undrained. Two
 * changes behind an attacher that SIGSTOP has stopped: the first is published
 * and arrives later (ETIMEDOUT), the second changes nothing (EBUSY).
 */
#include "map_util.h"
#include "party_util.h"

static size_t P;

static void two_behind(int fd, char *w, struct peer *a, bool killed)
{
	const char *how = killed ? "killed" : "continued";
	struct mshare_info before, after;

	must(mshare_unmap(fd, 0, 64 * P) == 0);
	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0 && store(w, 7) == 0);
	mshare_set_timeout(200);
	p_stop(a);
	uint64_t begin = now_ms();

	check_error(mshare_map(fd, 8 * P, P, RW, 0, -1, 0), ETIMEDOUT,
		    "the first change behind a stopped attacher (%s later)", how);
	check(now_ms() - begin >= 199, "after the limit and not before");
	check(errmsg_has_number(1) && errmsg_has_number(a->pid),
	      "mshare_errmsg has the count and the pid: \"%s\"", mshare_errmsg());
	check(MAPPED_IS(fd, {0, 4 * P, RW, 0}, {8 * P, P, RW, 0}), "it is published");
	check(store(w + 8 * P, 1) == 0, "and in force where nobody is stopped");
	before = info_of(fd);
	check(before.attachments == 2 && before.stragglers == 1, "one of two is a straggler");

	check_error(mshare_map(fd, 16 * P, P, RW, 0, -1, 0), EBUSY, "the second: map");
	check(errmsg_has_number(1) && errmsg_has_number(a->pid),
	      "mshare_errmsg has the count and the pid: \"%s\"", mshare_errmsg());
	check_error(mshare_unmap(fd, 0, P), EBUSY, "the second: unmap");
	check_error(mshare_protect(fd, 0, P, PROT_READ), EBUSY, "the second: protect");
	check_error(mshare_advise(fd, 0, P, MADV_REMOVE), EBUSY, "the second: advise");
	after = info_of(fd);
	check(MAPPED_IS(fd, {0, 4 * P, RW, 0}, {8 * P, P, RW, 0}) &&
		      after.generation == before.generation && after.resident == before.resident,
	      "they have changed nothing");
	check(value_at(w) == 7 && store(w, 8) == 0 && load(w + 16 * P, NULL) == SIGSEGV,
	      "nor here");

	if (killed)
		p_kill(a);
	else
		p_continue(a);
	mshare_set_timeout(30000);
	check(mshare_map(fd, 16 * P, P, RW, 0, -1, 0) == 0, "%s: the next change works", how);
	after = info_of(fd);
	check(after.stragglers == 0 && after.attachments == (killed ? 1 : 2),
	      "%s: nobody is behind", how);
	if (!killed)
		check(p_load(a, w + 8 * P, NULL) == 0 && p_load(a, w + 16 * P, NULL) == 0,
		      "continued: both changes have arrived");
	check(load(w + 8 * P, NULL) == 0 && load(w + 16 * P, NULL) == 0, "%s: here, too", how);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	struct peer a = peer_exec();
	int there = p_open(&a, name, O_RDWR, 0);

	must(p_attach(&a, there, NULL, RW, 0) == w);
	two_behind(fd, w, &a, false);

	/* Who joins while a change is undrained joins what is published. */
	mshare_set_timeout(200);
	p_stop(&a);
	check_error(mshare_protect(fd, 0, P, PROT_READ), ETIMEDOUT, "a protect is undrained");
	struct peer b = peer_exec();

	there = p_open(&b, name, O_RDWR, 0);
	check(p_attach(&b, there, NULL, RW, 0) == w, "a third process attaches meanwhile");
	check(p_load(&b, w, NULL) == 0 && p_store(&b, w, 1) == SIGSEGV,
	      "and has the published protection");
	struct mshare_info i = info_of(fd);

	check(i.attachments == 3 && i.stragglers == 1, "it is not counted as a straggler");
	check(p_detach(&b, w) == 0 && p_end(&b), "and detaches");
	/* An unmap published, undrained: the memory goes with the next change, not before. */
	p_continue(&a);
	mshare_set_timeout(30000);
	check(mshare_protect(fd, 0, P, RW) == 0, "continued: changes go on");
	mshare_set_timeout(200);
	p_stop(&a);
	uint64_t resident = info_of(fd).resident;

	check_error(mshare_unmap(fd, 0, 4 * P), ETIMEDOUT, "an unmap is undrained");
	check_eq(info_of(fd).resident, resident, "what the straggler may still touch is not freed");
	p_continue(&a);
	mshare_set_timeout(30000);
	check(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0, "the same range is mapped anew");
	check_eq(value_at(w), 0, "with zeroed memory");
	i = info_of(fd);
	check_eq(i.resident, i.mapped, "and the old memory is free");

	two_behind(fd, w, &a, true);
	check(mshare_detach(w) == 0, "detach");
	check_eq(info_of(fd).attachments, 0, "nobody is left");
	return done();
}
