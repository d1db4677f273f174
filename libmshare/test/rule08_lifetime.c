/* SPDX-License-Identifier: MIT */
/* Rule 8: a region lives while it has a name, an open descriptor or an attachment. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();

	/* The creator's exit changes nothing, nor its death. */
	for (int violent = 0; violent < 2; violent++) {
		const char *name = unique(violent ? "killed" : "ended");
		struct peer maker = peer_unrelated();
		int there = p_open(&maker, name, O_RDWR | O_CREAT | O_EXCL, 0600);

		must(p_reserve(&maker, there, NULL, GIB) == 0);
		must(p_map(&maker, there, 0, 2 * P, RW, 0) == 0);
		must(p_protect(&maker, there, P, P, PROT_READ) == 0);
		char *w = p_attach(&maker, there, NULL, RW, 0);

		must(w != MAP_FAILED && p_store(&maker, w, 31) == 0);
		if (violent)
			p_kill(&maker);
		else
			must(p_end(&maker));
		int fd = mshare_open(name, O_RDWR, 0);

		check(fd >= 0 && info_of(fd).attachments == 0 && info_of(fd).mapped == 2 * P,
		      "rule 8: the creator has %s: the region is there",
		      violent ? "been killed" : "ended");
		check(mshare_attach(fd, NULL, RW, 0) == w && value_at(w) == 31,
		      "rule 8: its contents too");
		check(store(w + P, 1) == SIGSEGV && load(w + P, NULL) == 0,
		      "rule 8: and its protections");
		check(mshare_detach(w) == 0, "detach");
		close(fd);
		/* Closed by all, attached by nobody: the name keeps it. */
		fd = mshare_open(name, O_RDWR, 0);
		check(fd >= 0 && mshare_attach(fd, NULL, RW, 0) == w && value_at(w) == 31,
		      "rule 8: close is not unlink");
		check(mshare_detach(w) == 0, "detach");
		close(fd);
	}

	/* Unlinked, and open. */
	const char *name = unique("unlinked");
	int fd = region_new(name, GIB);
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);

	must(mshare_map(fd, 0, 2 * P, RW, 0, -1, 0) == 0);
	check(mshare_unlink(name) == 0, "rule 8: unlink while open");
	check_error(mshare_open(name, O_RDWR, 0), ENOENT, "rule 8: the name is gone");
	check_error(mshare_unlink(name), ENOENT, "rule 8: and can be unlinked once");
	char *w = p_attach(&p, there, NULL, RW, 0);

	check(w != MAP_FAILED && p_store(&p, w, 7) == 0, "rule 8: attached by who has it open");
	check(mshare_map(fd, 4 * P, P, RW, 0, -1, 0) == 0 && p_load(&p, w + 4 * P, NULL) == 0,
	      "rule 8: changed by who has it open");

	/* The name may be taken by another region. */
	int other = region_new(name, GIB);

	check(info_of(other).mapped == 0 && info_of(fd).mapped == 3 * P,
	      "rule 8: the name, used again, is another region");
	close(other);
	must(mshare_unlink(name) == 0);

	/* Unlinked and closed by all, and attached: by the peer alone. */
	close(fd);
	check(p_close(&p, there) == 0, "rule 8: closed by all");
	uint64_t v = 0;

	check(p_load(&p, w, &v) == 0 && v == 7 && p_store(&p, w, 8) == 0,
	      "rule 8: unlinked, closed, attached: it lives on");
	struct peer child = p_fork(&p);

	check(p_load(&child, w, &v) == 0 && v == 8, "rule 8: children inherit it still");
	check(p_store(&child, w, 9) == 0 && p_load(&p, w, &v) == 0 && v == 9,
	      "rule 8: and share it");

	/* An attacher's end destroys nothing, however it ends. */
	p_kill(&p);
	check(p_load(&child, w, &v) == 0 && v == 9,
	      "rule 8: the child goes on when it is the last");
	check(p_detach(&child, w) == 0 && p_load(&child, w, NULL) == SIGSEGV,
	      "rule 8: the last one detaches");
	check(p_end(&child), "the child ended well");

	/* An unnamed region lives by descriptors and attachments. */
	fd = region_new(NULL, GIB);
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	struct peer q = peer_exec();

	there = p_take(&q, fd);
	close(fd);
	w = p_attach(&q, there, NULL, RW, 0);
	check(w != MAP_FAILED && p_store(&q, w, 12) == 0, "rule 8: an unnamed region, handed on");
	fd = p_give(&q, there);
	check(p_end(&q) && fd >= 0, "rule 8: and handed back");
	check(mshare_attach(fd, NULL, RW, 0) == w && value_at(w) == 12,
	      "rule 8: it lived in the descriptor");
	close(fd);
	check(value_at(w) == 12 && store(w, 13) == 0, "rule 8: it lives in the attachment");
	check(mshare_detach(w) == 0, "detach");

	/* A descriptor in flight keeps it too. */
	int pair[2], got = -1;
	char c = 0;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	fd = region_new(NULL, GIB);
	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	must(peer_send(pair[0], "x", 1, fd));
	close(fd);
	must(peer_receive(pair[1], &c, 1, &got) && got >= 0);
	check(info_of(got).mapped == P, "rule 8: it lives in a descriptor in flight");
	return done();
}
