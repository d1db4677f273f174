/* SPDX-License-Identifier: MIT */
/* Rule 10: ATTACH_NOFORK: the child has no attachment, and nothing stale. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB), other = region_new(unique("other"), GIB);

	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	must(mshare_map(other, 0, 2 * P, RW, 0, -1, 0) == 0);
	char *w = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_NOFORK);
	char *o = mshare_attach(other, NULL, RW, 0);

	must(w != MAP_FAILED && o != MAP_FAILED);
	must(store(w, 1) == 0 && store(o, 2) == 0);
	struct peer child = peer_fork();

	check(p_load(&child, w, NULL) == SIGSEGV && p_store(&child, w + P, 1) == SIGSEGV,
	      "rule 10: NOFORK: the window is inaccessible in the child");
	check(info_of(fd).attachments == 1, "rule 10: NOFORK: the child is no attacher");
	check(p_load(&child, o, NULL) == 0 && info_of(other).attachments == 2,
	      "rule 10: an attachment without the flag is inherited beside it");
	check(mshare_unmap(fd, 0, P) == 0 && mshare_map(fd, 4 * P, P, RW, 0, -1, 0) == 0,
	      "rule 10: NOFORK: changes do not wait for the child");
	check(p_load(&child, w + 4 * P, NULL) == SIGSEGV, "rule 10: NOFORK: nor reach it");
	check_peer_error(p_detach(&child, w), EINVAL, "rule 10: NOFORK: it has nothing to detach");
	check(p_attach(&child, fd, NULL, RW, 0) == w && p_load(&child, w + 4 * P, NULL) == 0,
	      "rule 10: NOFORK: it can attach for itself, at the base");
	check(info_of(fd).attachments == 2, "rule 10: and is an attacher then");
	struct peer grand = p_fork(&child);

	check(p_load(&grand, w + 4 * P, NULL) == 0,
	      "rule 10: that attachment, without the flag, its own child inherits");
	check(p_end(&grand) && p_end(&child), "the children ended well");
	check(load(w + P, NULL) == 0 && store(w + P, 9) == 0, "rule 10: the parent's is as ever");

	/* Two views of one region, one of them with the flag. */
	char *again = mshare_attach(fd, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	must(again != MAP_FAILED);
	child = peer_fork();
	check(p_load(&child, w + P, NULL) == SIGSEGV && p_load(&child, again + P, NULL) == 0,
	      "rule 10: it is a property of the attachment");
	check(p_end(&child), "the child ended well");
	check(mshare_detach(w) == 0 && mshare_detach(o) == 0 && mshare_detach(again) == 0,
	      "detach");
	return done();
}
