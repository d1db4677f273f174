/* SPDX-License-Identifier: MIT */
/* Rule 14: which back end a region is on can be asked of every handle; the numbers are right. */
#include "test.h"

static uint32_t the_backend, the_capabilities;

static void ask(int fd, const char *handle)
{
	struct mshare_info i;

	memset(&i, 0xa5, sizeof(i));
	check(mshare_info(fd, &i, sizeof(i)) == 0 && i.backend == the_backend &&
		      i.capabilities == the_capabilities,
	      "rule 14: %s says which back end it is on", handle);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	struct mshare_info b = backend(), i;

	the_backend = b.backend;
	the_capabilities = b.capabilities;
	check(the_backend == MSHARE_BACKEND_SHM || the_backend == MSHARE_BACKEND_MSHAREFS,
	      "rule 14: the root says which back end it is (%u)", the_backend);
	if (the_backend == MSHARE_BACKEND_SHM)
		check_eq(the_capabilities, 0, "rule 14: shm has none of the capabilities");
	else
		check_eq(the_capabilities,
			 MSHARE_CAP_SHARED_PAGE_TABLES | MSHARE_CAP_FILE_BACKING |
				 MSHARE_CAP_REFUSES_RAW_CALLS,
			 "rule 14: msharefs has all of them but hugetlb");
	check(b.window == 0 && b.mapped == 0 && b.attachments == 0,
	      "rule 14: the root is no region and has no numbers");

	const char *name = unique("region");
	int fd = region_new(name, 0);

	ask(fd, "a region without a window");
	must(mshare_reserve(fd, NULL, 2 * GIB) == 0);
	ask(fd, "a named region");
	int ro = mshare_open(name, O_RDONLY, 0), again = mshare_reopen(fd, O_RDONLY),
	    copy = dup(fd);
	int nameless = region_new(NULL, GIB);

	must(ro >= 0 && again >= 0 && copy >= 0);
	ask(ro, "a read-only descriptor");
	ask(again, "a reopened descriptor");
	ask(copy, "a duplicated descriptor");
	ask(nameless, "an unnamed region");
	struct peer p = peer_exec();
	int sent = p_take(&p, nameless), there = p_open(&p, name, O_RDWR, 0);

	check(p_info(&p, sent, &i) == 0 && i.backend == the_backend &&
		      i.capabilities == the_capabilities && i.window == GIB,
	      "rule 14: a descriptor sent to another process says so there");
	check(p_info(&p, there, &i) == 0 && i.backend == the_backend,
	      "rule 14: and one that it opened");

	/* The numbers. */
	uint64_t g = info_of(fd).generation;

	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(fd, 8 * P, 4 * P, PROT_READ, 0, -1, 0) == 0);
	i = info_of(ro);
	check(i.window == 2 * GIB && i.base == info_of(fd).base && i.base % mshare_alignment() == 0,
	      "rule 14: window and base");
	check_eq(i.mapped, 8 * P, "rule 14: bytes mapped");
	check_eq(i.mappings, 2, "rule 14: mappings");
	check(i.generation == g + 2, "rule 14: the generation counts changes");
	check(i.resident <= 8 * P + 8 * MIB, "rule 14: bytes resident");
	check((i.page_table_bytes == MSHARE_UNKNOWN) == (the_backend == MSHARE_BACKEND_SHM),
	      "rule 14: page-table bytes: known on msharefs, unknown on shm");
	check(i.attachments == 0 && i.stragglers == 0 && i.attachment_errno == 0,
	      "rule 14: nobody is attached");
	g = i.generation;
	check_error(mshare_map(fd, 0, P, RW, 0, -1, 0), EEXIST, "a refused change");
	check_eq(info_of(fd).generation, g, "rule 14: a refused change is none");
	must(mshare_unmap(fd, 8 * P, 4 * P) == 0);
	check(info_of(fd).generation == g + 1 && info_of(fd).mapped == 4 * P,
	      "rule 14: unmap counts");

	/* Attachments, of all processes, dead ones not. */
	char *w = mshare_attach(fd, NULL, RW, 0),
	     *v = mshare_attach(ro, NULL, PROT_READ, MSHARE_ATTACH_ANYWHERE);

	must(w != MAP_FAILED && v != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);
	check_eq(info_of(fd).attachments, 3, "rule 14: three attachments");
	struct peer q = peer_fork();

	/* When it answers its fork is over, in the child too. */
	must(p_load(&q, w, NULL) == 0);
	check_eq(info_of(ro).attachments, 5, "rule 14: a child brings two more");
	p_kill(&q);
	check_eq(info_of(fd).attachments, 3, "rule 14: and takes them with it");
	check(p_info(&p, there, &i) == 0 && i.attachments == 3,
	      "rule 14: so says the other process");
	mshare_detach(v);
	check_eq(info_of(fd).attachments, 2, "rule 14: detach counts");

	/* Many attachments are counted exactly. */
	char *many[12];
	int made = 0;

	for (; made < 12; made++) {
		many[made] = mshare_attach(nameless, NULL, RW, MSHARE_ATTACH_ANYWHERE);
		if (many[made] == MAP_FAILED)
			break;
	}
	check_eq(info_of(nameless).attachments, made, "rule 14: %d attachments of one process",
		 made);
	check(made == 12, "rule 14: a process may have 12 of one region");
	while (made-- > 0)
		must(mshare_detach(many[made]) == 0);
	check_eq(info_of(nameless).attachments, 0, "rule 14: and none");

	/* A straggler. */
	p_stop(&p);
	mshare_set_timeout(100);
	if (shares_tables())
		check(mshare_protect(fd, 0, P, PROT_READ) == 0,
		      "a change behind a stopped process");
	else
		check_error(mshare_protect(fd, 0, P, PROT_READ), ETIMEDOUT,
			    "a change behind a stopped process");
	i = info_of(fd);
	check(i.attachments == 2 && i.stragglers == !shares_tables(),
	      "rule 14: of two, those that are behind (%u of %u)", i.stragglers, i.attachments);
	p_continue(&p);
	mshare_set_timeout(30000);
	check(mshare_protect(fd, 0, P, RW) == 0 && info_of(fd).stragglers == 0,
	      "rule 14: it has caught up");
	check(p_end(&p), "the peer ended well");
	check(mshare_detach(w) == 0, "detach");
	return done();
}
