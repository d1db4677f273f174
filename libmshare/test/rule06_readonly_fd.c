/* SPDX-License-Identifier: MIT */
/*
 * Rule 6: opened read-only, the view stays read-only whatever the mapping's
 * protection is or becomes, and every change is EACCES.
 */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int rw = region_new(name, GIB), ro = mshare_open(name, O_RDONLY, 0);

	must(ro >= 0);
	must(mshare_map(rw, 0, 4 * P, RW, 0, -1, 0) == 0);
	struct mshare_info before = info_of(ro);

	check_error(mshare_map(ro, 8 * P, P, RW, 0, -1, 0), EACCES, "rule 6: map");
	check_error(mshare_map(ro, 0, P, RW, 0, -1, 0), EACCES, "rule 6: map over something");
	check_error(mshare_unmap(ro, 0, P), EACCES, "rule 6: unmap");
	check_error(mshare_unmap(ro, 8 * P, P), EACCES, "rule 6: unmap of a hole");
	check_error(mshare_protect(ro, 0, P, PROT_READ), EACCES, "rule 6: protect");
	check_error(mshare_advise(ro, 0, P, MADV_REMOVE), EACCES, "rule 6: advise");
	check_error(mshare_reserve(ro, NULL, GIB), EACCES, "rule 6: reserve");
	check_error(mshare_attach(ro, NULL, RW, 0), EACCES, "rule 6: attach to write");
	check_error(mshare_attach(ro, NULL, RW, MSHARE_ATTACH_ANYWHERE), EACCES,
		    "rule 6: attach to write, anywhere");
	check(info_of(ro).generation == before.generation && info_of(ro).mapped == 4 * P &&
		      info_of(ro).attachments == 0,
	      "rule 6: nothing has changed");

	char *w = mshare_attach(ro, NULL, PROT_READ, 0);
	char *v = mshare_attach(rw, NULL, RW, MSHARE_ATTACH_ANYWHERE);

	must(w != MAP_FAILED && v != MAP_FAILED);
	check(store(w, 1) == SIGSEGV && load(w, NULL) == 0,
	      "rule 6: read-write memory, read-only view");
	check(store(v, 12) == 0 && value_at(w) == 12, "rule 6: which shows what others store");
	static const int prots[] = {PROT_NONE, PROT_READ, RW, PROT_READ, RW};

	for (size_t i = 0; i < sizeof(prots) / sizeof(prots[0]); i++) {
		must(mshare_protect(rw, 0, 4 * P, prots[i]) == 0);
		check(store(w, 1) == SIGSEGV && (load(w, NULL) == 0) == (prots[i] != PROT_NONE),
		      "rule 6: no store after the protection has become %d", prots[i]);
	}
	must(mshare_map(rw, 16 * P, P, RW, 0, -1, 0) == 0);
	check(store(w + 16 * P, 1) == SIGSEGV && load(w + 16 * P, NULL) == 0,
	      "rule 6: nor to what is mapped later");
	/* What can be written but not read: a read-only view has no use of it. */
	must(mshare_protect(rw, 16 * P, P, PROT_WRITE) == 0);
	check(store(v + 16 * P, 1) == 0 && store(w + 16 * P, 1) == SIGSEGV,
	      "rule 6: write-only memory");

	/* A read-only view through a descriptor that could write. */
	char *u = mshare_attach(rw, NULL, PROT_READ, MSHARE_ATTACH_ANYWHERE);

	must(u != MAP_FAILED);
	check(store(u, 1) == SIGSEGV && load(u, NULL) == 0,
	      "rule 6: PROT_READ asked for on O_RDWR");
	must(mshare_protect(rw, 0, P, PROT_READ) == 0 && mshare_protect(rw, 0, P, RW) == 0);
	check(store(u, 1) == SIGSEGV, "rule 6: it stays so");

	/* The descriptor may go; the view stays as it is. */
	close(ro);
	check(store(w, 1) == SIGSEGV && value_at(w) == 12, "rule 6: after close as well");
	must(mshare_protect(rw, 0, P, PROT_READ) == 0 && mshare_protect(rw, 0, P, RW) == 0);
	check(store(w, 1) == SIGSEGV && value_at(w) == 12, "rule 6: and a change still reaches it");

	/* A child inherits it read-only. */
	struct peer p = peer_fork();

	check(p_store(&p, w, 1) == SIGSEGV && p_load(&p, w, NULL) == 0, "rule 6: in a child too");
	must(mshare_protect(rw, 0, P, PROT_READ) == 0 && mshare_protect(rw, 0, P, RW) == 0);
	check(p_store(&p, w, 1) == SIGSEGV && p_load(&p, w, NULL) == 0,
	      "rule 6: in a child after a change");
	check(p_end(&p), "the child ended well");
	check(mshare_detach(w) == 0 && mshare_detach(v) == 0 && mshare_detach(u) == 0, "detach");
	return done();
}
