/* SPDX-License-Identifier: MIT */
/*
 * Rule 3: when map, protect or unmap has returned, the change is in force in
 * every attached process: forked, exec'd, unrelated, read-only, at the base or
 * elsewhere. No attacher calls anything.
 */
#include "test.h"

#define PEERS 6

static struct peer p[PEERS];
static char *w[PEERS];
static int there[PEERS];
static bool writes[PEERS];
static const char *kind[PEERS] = {"forked with an attachment",
				  "forked",
				  "exec'd",
				  "unrelated",
				  "read-only",
				  "at another address"};

static bool all_load(size_t offset, int want_signal, uint64_t want)
{
	bool good = true;

	for (int i = 0; i < PEERS; i++) {
		uint64_t v = 0;
		int sig = p_load(&p[i], w[i] + offset, &v);

		if (sig != want_signal || (sig == 0 && v != want)) {
			note("  the peer %s: signal %d, value %" PRIu64, kind[i], sig, v);
			good = false;
		}
	}
	return good;
}

static bool all_store_refused(size_t offset)
{
	bool good = true;

	for (int i = 0; i < PEERS; i++)
		if (p_store(&p[i], w[i] + offset, 99) != SIGSEGV) {
			note("  the peer %s could store", kind[i]);
			good = false;
		}
	return good;
}

/* Everybody stores in turn; everybody sees it. */
static bool all_store_and_see(size_t offset)
{
	bool good = true;

	for (int i = 0; i < PEERS; i++) {
		int sig = p_store(&p[i], w[i] + offset, (uint64_t)(100 + i));

		if (writes[i])
			good = good && sig == 0 && all_load(offset, 0, (uint64_t)(100 + i));
		else
			good = good && sig == SIGSEGV;
	}
	return good;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page(), far = GIB - 64 * KIB;
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *mine = mshare_attach(fd, NULL, RW, 0);

	must(mine != MAP_FAILED);
	p[0] = peer_fork(); /* inherits the attachment */
	w[0] = mine;
	there[0] = fd;
	for (int i = 1; i < PEERS; i++) {
		p[i] = i == 1 ? peer_fork() : i == 2 ? peer_exec() : peer_unrelated();
		if (i == 1)
			must(p_detach(&p[i], mine) == 0);
		there[i] = p_open(&p[i], name, i == 4 ? O_RDONLY : O_RDWR, 0);
		must(there[i] >= 0);
		if (i == 5)
			must(p_hold(&p[i], mine, P) == mine);
		w[i] = p_attach(&p[i], there[i], NULL, i == 4 ? PROT_READ : RW,
				i == 5 ? MSHARE_ATTACH_ANYWHERE : 0);
		must(w[i] != MAP_FAILED);
		must((w[i] == mine) == (i != 5));
	}
	for (int i = 0; i < PEERS; i++)
		writes[i] = i != 4;
	check_eq(info_of(fd).attachments, PEERS + 1, "rule 3: all are attached");

	check(all_load(0, SIGSEGV, 0) && all_load(far, SIGSEGV, 0),
	      "rule 3: a hole, for everybody");
	check(mshare_map(fd, 0, 8 * P, RW, 0, -1, 0) == 0, "rule 3: map");
	check(all_load(0, 0, 0) && all_load(7 * P, 0, 0), "rule 3: mapped, for everybody, zeroed");
	check(all_load(8 * P, SIGSEGV, 0), "rule 3: and no more than that");
	check(all_store_and_see(5 * P), "rule 3: everybody sees everybody's stores");

	check(mshare_protect(fd, 4 * P, 2 * P, PROT_READ) == 0, "rule 3: protect, read-only");
	check(all_store_refused(5 * P) && all_load(5 * P, 0, 105),
	      "rule 3: nobody can store, everybody can load");
	check(all_store_and_see(3 * P) && all_store_and_see(6 * P),
	      "rule 3: the pages beside it are as they were");
	check(mshare_protect(fd, 4 * P, 2 * P, PROT_NONE) == 0, "rule 3: protect, none");
	check(all_load(5 * P, SIGSEGV, 0) && all_store_refused(5 * P), "rule 3: nobody can load");
	check(mshare_protect(fd, 4 * P, 2 * P, RW) == 0, "rule 3: protect, read-write");
	check(all_load(5 * P, 0, 105) && all_store_and_see(5 * P),
	      "rule 3: everybody can again, and the contents are kept");

	check(mshare_unmap(fd, 4 * P, 2 * P) == 0, "rule 3: unmap");
	check(all_load(4 * P, SIGSEGV, 0) && all_load(5 * P, SIGSEGV, 0),
	      "rule 3: gone for everybody");
	check(all_load(3 * P, 0, 105) && all_load(6 * P, 0, 105),
	      "rule 3: the pages beside it stay");
	check(mshare_map(fd, 4 * P, 2 * P, RW, 0, -1, 0) == 0, "rule 3: map again");
	check(all_load(5 * P, 0, 0), "rule 3: zeroed, for everybody: nothing of the old contents");

	/* Changes by each of the others, attached or not, reach all the rest. */
	for (int i = 0; i < PEERS; i++) {
		size_t o = far + (size_t)i * P;

		if (!writes[i]) {
			check_peer_error(p_map(&p[i], there[i], o, P, RW, 0), EACCES,
					 "rule 3: a change by the peer %s is refused", kind[i]);
			check(all_load(o, SIGSEGV, 0), "rule 3: and reaches nobody");
			continue;
		}
		bool good = p_map(&p[i], there[i], o, P, RW, 0) == 0 && all_load(o, 0, 0) &&
			    store(mine + o, 7) == 0 && all_load(o, 0, 7) &&
			    p_protect(&p[i], there[i], o, P, PROT_READ) == 0 &&
			    all_store_refused(o) && store(mine + o, 8) == SIGSEGV &&
			    p_unmap(&p[i], there[i], o, P) == 0 && all_load(o, SIGSEGV, 0) &&
			    load(mine + o, NULL) == SIGSEGV;

		check(good, "rule 3: changes by the peer %s are everybody's", kind[i]);
	}

	/* Large ones: the whole rest of the window, and away with it. */
	check(mshare_map(fd, 64 * MIB, 512 * MIB, RW, MSHARE_MAP_NORESERVE, -1, 0) == 0,
	      "rule 3: map of 512 MiB");
	check(all_load(64 * MIB, 0, 0) && all_load(300 * MIB, 0, 0) &&
		      all_load(576 * MIB - P, 0, 0) && all_load(576 * MIB, SIGSEGV, 0),
	      "rule 3: there for everybody");
	check(mshare_unmap(fd, 64 * MIB, 512 * MIB) == 0, "rule 3: unmap of 512 MiB");
	check(all_load(64 * MIB, SIGSEGV, 0) && all_load(300 * MIB, SIGSEGV, 0) &&
		      all_load(576 * MIB - P, SIGSEGV, 0),
	      "rule 3: gone for everybody");
	check_eq(info_of(fd).stragglers, 0, "rule 3: nobody is behind");
	for (int i = 0; i < PEERS; i++)
		check(p_end(&p[i]), "the peer %s ended well", kind[i]);
	check_eq(info_of(fd).attachments, 1, "rule 3: this process is the last one attached");
	check(mshare_detach(mine) == 0, "detach");
	return done();
}
