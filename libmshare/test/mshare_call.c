/* SPDX-License-Identifier: MIT */
/*
 * mshare(): with O_CREAT what the caller has mapped becomes the region's
 * contents, bytes, protections and holes kept; without, it attaches at just
 * that address and length.
 */
#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	/* Addresses that are free: where a region would have been. */
	int probe = region_new(NULL, 2 * GIB);
	char *a = (char *)(uintptr_t)info_of(probe).base;

	close(probe);
	/* Bytes in read-write, read-only and inaccessible memory; some never touched; holes. */
	must(mmap(a, 16 * P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == a);
	must(mmap(a + 300 * MIB, 64 * P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		  0) == a + 300 * MIB);
	must(mmap(a + GIB - P, P, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		  0) == a + GIB - P);
	for (size_t i = 0; i < 12; i++)
		for (size_t j = 0; j < P; j += 8)
			must(store(a + i * P + j, i << 32 | j) == 0);
	must(store(a + 300 * MIB + 10 * P, 4711) == 0);
	must(mprotect(a + 4 * P, 4 * P, PROT_READ) == 0);
	must(mprotect(a + 8 * P, 4 * P, PROT_NONE) == 0);
	/* Memory beyond [a, a + GIB) is nobody's business. */
	must(mmap(a + GIB, P, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
	     a + GIB);
	must(store(a + GIB, 99) == 0);

	umask(027);
	check(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0666) == 0, "mshare() with O_CREAT");
	umask(022);
	bool kept = true;

	for (size_t i = 0; i < 8; i++)
		for (size_t j = 0; j < P; j += 8)
			kept = kept && value_at(a + i * P + j) == (i << 32 | j);
	check(kept, "mshare(): the bytes are kept");
	check(store(a, 0) == 0 && store(a + 4 * P, 1) == SIGSEGV &&
		      load(a + 8 * P, NULL) == SIGSEGV,
	      "mshare(): the protections are kept");
	check(value_at(a + 12 * P) == 0 && value_at(a + 300 * MIB) == 0 &&
		      value_at(a + 300 * MIB + 10 * P) == 4711 && value_at(a + GIB - P) == 0,
	      "mshare(): memory never touched is zero");
	check(load(a + 16 * P, NULL) == SIGSEGV && load(a + 200 * MIB, NULL) == SIGSEGV,
	      "mshare(): holes are holes");
	check(value_at(a + GIB) == 99, "mshare(): what lies beyond is as it was");

	int fd = mshare_open(name, O_RDWR, 0);
	struct stat st;

	must(fd >= 0 && fstat(fd, &st) == 0);
	check((st.st_mode & 07777) == 0640, "mshare(): the mode less the umask");
	struct mshare_info i = info_of(fd);

	check(i.base == (uintptr_t)a && i.window == GIB && i.attachments == 1,
	      "mshare(): a region with that window, this process attached");
	check(MAPPED_IS(fd, {0, 4 * P, RW, 0}, {4 * P, 4 * P, PROT_READ, 0},
			{8 * P, 4 * P, PROT_NONE, MSHARE_MAP_NORESERVE}, {12 * P, 4 * P, RW, 0},
			{300 * MIB, 64 * P, RW, 0}, {GIB - P, P, PROT_READ, 0}),
	      "mshare(): the mappings are the caller's");

	/* Other processes, by the same call. */
	struct peer p = peer_unrelated(), r = peer_unrelated();

	check_peer_error(p_mshare(&p, name, a, 2 * GIB, O_RDWR, 0), EINVAL,
			 "mshare(): another length");
	check_peer_error(p_mshare(&p, name, a + GIB, GIB, O_RDWR, 0), EINVAL,
			 "mshare(): another address");
	check(p_load(&p, a, NULL) == SIGSEGV, "mshare(): nothing was attached");
	check(p_mshare(&p, name, a, GIB, O_RDWR, 0) == 0, "mshare() without O_CREAT attaches");
	check(p_mshare(&r, name, a, GIB, O_RDONLY, 0) == 0, "mshare() with O_RDONLY attaches");
	uint64_t v = 0;

	check(p_load(&p, a + 7 * P + 8, &v) == 0 && v == (7ull << 32 | 8), "the bytes are there");
	check(p_store(&p, a, 77) == 0 && value_at(a) == 77 && p_load(&r, a, &v) == 0 && v == 77,
	      "and shared");
	check(p_store(&p, a + 4 * P, 1) == SIGSEGV && p_load(&p, a + 8 * P, NULL) == SIGSEGV,
	      "with their protections");
	check(p_store(&r, a, 1) == SIGSEGV, "read-only where it was asked for");
	check_peer_error(p_mshare(&p, name, a, GIB, O_RDWR, 0), EADDRINUSE,
			 "mshare() again, in a process that has it there");

	/* What was PROT_NONE has its bytes too. */
	must(mshare_protect(fd, 8 * P, 4 * P, PROT_READ) == 0);
	kept = true;
	for (size_t k = 8; k < 12; k++)
		for (size_t j = 0; j < P; j += 8)
			kept = kept && value_at(a + k * P + j) == (k << 32 | j);
	check(kept, "mshare(): bytes of inaccessible memory are kept");
	check(p_load(&p, a + 11 * P, &v) == 0 && v == 11ull << 32, "in the others too");

	/* It is a region like any other. */
	check(mshare_map(fd, 16 * P, P, RW, 0, -1, 0) == 0 && store(a + 16 * P, 5) == 0 &&
		      p_load(&p, a + 16 * P, &v) == 0 && v == 5,
	      "mapped into");
	check(mshare_unmap(fd, 0, 4 * P) == 0 && load(a, NULL) == SIGSEGV &&
		      p_load(&p, a, NULL) == SIGSEGV && p_load(&r, a, NULL) == SIGSEGV,
	      "unmapped from");
	struct peer child = peer_fork();

	check(p_load(&child, a + 16 * P, &v) == 0 && v == 5, "inherited");
	check(p_end(&child), "the child ended well");

	/* O_CREAT of what exists: attached, if that is possible. */
	check_error(mshare(name, a, GIB, O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST,
		    "mshare() with O_EXCL of what exists");
	check(mshare_detach(a) == 0 && load(a + 16 * P, NULL) == SIGSEGV, "detach");
	check(mshare(name, a, GIB, O_RDWR | O_CREAT, 0600) == 0 && value_at(a + 16 * P) == 5,
	      "mshare() with O_CREAT of what exists attaches it");
	check(mshare_detach(a) == 0, "detach");
	check(mshare_unlink(name) == 0, "mshare_unlink() takes the name");
	check_peer_error(p_mshare(&p, name, a, GIB, O_RDWR, 0), ENOENT,
			 "then it cannot be attached");
	check(p_load(&p, a + 16 * P, &v) == 0 && v == 5, "who is attached keeps it");
	check(p_end(&p) && p_end(&r), "the peers ended well");

	/* An empty window is a region with nothing in it. */
	check(mshare(name, a - GIB, GIB, O_RDWR | O_CREAT | O_EXCL, 0600) == 0,
	      "mshare() of a range that has nothing mapped");
	int empty = mshare_open(name, O_RDWR, 0);

	check(empty >= 0 && info_of(empty).mapped == 0 && load(a - GIB, NULL) == SIGSEGV,
	      "is an empty region");
	check(mshare_detach(a - GIB) == 0, "detach");
	munmap(a + GIB, P);
	return done();
}
