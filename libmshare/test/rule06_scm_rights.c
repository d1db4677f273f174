/* SPDX-License-Identifier: MIT */
/*
 * Rule 6: a descriptor of an unnamed region (mode 0600), sent by
 * SCM_RIGHTS to a process of another user, who may not open the file anew.
 * All it is open for works with it; read-only stays read-only.
 */
#include "map_util.h"
#include "party_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root, to become another user");
	size_t P = page();
	int fd = region_new(NULL, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	must(mshare_map(fd, 0, 4 * P, RW, 0, -1, 0) == 0 && store(w, 7) == 0);
	struct peer p = peer_exec();
	uint64_t value = 0;

	must(p_become(&p, STRANGER, STRANGER) == 0);
	int there = p_take(&p, fd);

	must(there >= 0);
	check_peer_error(p_reopen(&p, there, O_RDWR), EACCES, "the stranger may not open it anew");
	check(p_attach(&p, there, NULL, RW, 0) == w, "the stranger attaches");
	check(p_load(&p, w, &value) == 0 && value == 7 && p_store(&p, w, 8) == 0 &&
		      value_at(w) == 8,
	      "and shares the memory");
	check(p_map(&p, there, 8 * P, 2 * P, RW, 0) == 0 && store(w + 8 * P, 1) == 0 &&
		      p_load(&p, w + 8 * P, NULL) == 0,
	      "it maps");
	check(p_protect(&p, there, 8 * P, P, PROT_READ) == 0 && store(w + 8 * P, 1) == SIGSEGV &&
		      p_store(&p, w + 8 * P, 1) == SIGSEGV,
	      "it protects");
	check(p_unmap(&p, there, 8 * P, P) == 0 && load(w + 8 * P, NULL) == SIGSEGV &&
		      p_load(&p, w + 8 * P, NULL) == SIGSEGV,
	      "it unmaps");
	check(p_advise(&p, there, 9 * P, P, MADV_REMOVE) == 0, "it advises");
	check_peer_error(p_map(&p, there, 0, P, RW, 0), EEXIST, "its failures have their errno");
	check(strlen(peer_errmsg) > 10, "and their sentence: \"%s\"", peer_errmsg);
	check(mshare_map(fd, 16 * P, P, RW, 0, -1, 0) == 0 && p_load(&p, w + 16 * P, NULL) == 0,
	      "it follows our changes");
	struct peer c = p_fork(&p);

	check(p_load(&c, w, &value) == 0 && value == 8, "its child has the window, too");
	check(mshare_unmap(fd, 16 * P, P) == 0 && p_load(&c, w + 16 * P, NULL) == SIGSEGV &&
		      p_map(&c, there, 16 * P, P, RW, 0) == 0 && load(w + 16 * P, NULL) == 0,
	      "follows and changes");
	check_eq(info_of(fd).attachments, 3, "three are attached");
	check(p_end(&c), "the child ends");
	must(settles(fd, 2, 0));

	/*
	 * What a stopped attacher does to a change, it does to that of one who cannot
	 * reopen, too: on shm the time limit is reached.
	 */
	struct peer s = peer_exec();
	int stopped = p_take(&s, fd);

	must(p_attach(&s, stopped, NULL, RW, 0) == w);
	must(p_set_timeout(&p, 200) == 0);
	p_stop(&s);
	if (shares_tables()) {
		check(p_map(&p, there, 32 * P, P, RW, 0) == 0,
		      "the stranger's change while an attacher is stopped");
		check(p_map(&p, there, 33 * P, P, RW, 0) == 0, "and its second");
		p_continue(&s);
	} else {
		check_peer_error(p_map(&p, there, 32 * P, P, RW, 0), ETIMEDOUT,
				 "the stranger's change behind a stopped attacher");
		check_peer_error(p_map(&p, there, 33 * P, P, RW, 0), EBUSY, "and its second");
		p_continue(&s);
		must(p_set_timeout(&p, 30000) == 0 && p_map(&p, there, 33 * P, P, RW, 0) == 0);
	}
	check(p_load(&s, w + 32 * P, NULL) == 0 && p_load(&s, w + 33 * P, NULL) == 0,
	      "continued: both are there");
	check(p_end(&s), "the stopped one ends");
	check(p_detach(&p, w) == 0, "the stranger detaches");

	/* The weaker descriptor. */
	int weak = mshare_reopen(fd, O_RDONLY);

	must(weak >= 0);
	int reader = p_take(&p, weak);

	must(reader >= 0 && p_close(&p, there) == 0);
	check_peer_error((int64_t)p_attach(&p, reader, NULL, RW, 0), EACCES,
			 "an O_RDONLY descriptor: attach for writing");
	check(p_attach(&p, reader, NULL, PROT_READ, 0) == w && p_load(&p, w, &value) == 0 &&
		      value == 8,
	      "attach for reading");
	check(p_store(&p, w, 1) == SIGSEGV, "a store");
	check_peer_error(p_map(&p, reader, 40 * P, P, RW, 0), EACCES, "map");
	check_peer_error(p_unmap(&p, reader, 0, P), EACCES, "unmap");
	check_peer_error(p_protect(&p, reader, 0, P, RW), EACCES, "protect");
	check_peer_error(p_reopen(&p, reader, O_RDWR), EACCES, "reopen for writing");
	check(mshare_protect(fd, 0, P, PROT_READ) == 0 && mshare_protect(fd, 0, P, RW) == 0 &&
		      p_store(&p, w, 1) == SIGSEGV,
	      "a change of protection does not make it writable");
	check(mshare_map(fd, 48 * P, P, RW, 0, -1, 0) == 0 && p_load(&p, w + 48 * P, NULL) == 0 &&
		      p_store(&p, w + 48 * P, 1) == SIGSEGV,
	      "it follows, and reads only");
	c = p_fork(&p);
	check(p_load(&c, w + 48 * P, NULL) == 0 && p_store(&c, w, 1) == SIGSEGV,
	      "as does its child");
	check(p_end(&c) && p_detach(&p, w) == 0 && p_end(&p), "they end");
	check(mshare_detach(w) == 0, "detach");
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
