/* SPDX-License-Identifier: MIT */
/* Rule 10: a child as the sole survivor of an unlinked region. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();

	for (int named = 0; named < 2; named++) {
		const char *name = named ? unique("region") : NULL;
		const char *kind = named ? "named" : "unnamed";
		struct peer parent = peer_unrelated();
		int there = named ? p_open(&parent, name, O_RDWR | O_CREAT | O_EXCL, 0600)
				  : p_create(&parent, 0, 0600);

		must(there >= 0 && p_reserve(&parent, there, NULL, GIB) == 0);
		must(p_map(&parent, there, 0, 2 * P, RW, 0) == 0);
		char *w = p_attach(&parent, there, NULL, RW, 0);

		must(w != MAP_FAILED && p_store(&parent, w, 5) == 0);
		struct peer child = p_fork(&parent);

		if (named)
			must(p_unlink(&parent, name) == 0);
		p_kill(&parent);
		uint64_t v = 0;

		check(p_load(&child, w, &v) == 0 && v == 5,
		      "rule 10: %s: the parent is dead, the child has all", kind);
		check(p_map(&child, there, 4 * P, P, RW, 0) == 0 &&
			      p_store(&child, w + 4 * P, 6) == 0,
		      "rule 10: %s: and changes it", kind);
		struct mshare_info i;

		check(p_info(&child, there, &i) == 0 && i.attachments == 1 &&
			      i.attachment_errno == 0,
		      "rule 10: %s: the only attacher", kind);
		struct peer grand = p_fork(&child);

		check(p_close(&child, there) == 0, "close");
		check(p_protect(&grand, there, 0, P, PROT_READ) == 0 &&
			      p_store(&child, w, 1) == SIGSEGV && p_store(&grand, w, 1) == SIGSEGV,
		      "rule 10: %s: its own children share it", kind);
		/* And hands it to a stranger. */
		int fd = p_give(&grand, there);

		check(fd >= 0 && mshare_attach(fd, NULL, RW, 0) == w && value_at(w + 4 * P) == 6,
		      "rule 10: %s: and it can be handed on", kind);
		check(p_end(&grand) && p_end(&child) && value_at(w + 4 * P) == 6,
		      "rule 10: %s: to outlive them all", kind);
		check(mshare_detach(w) == 0, "detach");
		close(fd);
	}
	return done();
}
