/* SPDX-License-Identifier: MIT */
/* Rule 8: last one gone, the memory is free, at once; unmap frees as well. */
#include "mount_util.h"

static const char *root;

static uint64_t used_since(uint64_t before)
{
	return before - bytes_free(root);
}

static long shmem_kb(void)
{
	char line[256];
	long n = -1;
	FILE *f = fopen("/proc/meminfo", "re");

	must(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Shmem: %ld", &n) == 1)
			break;
	fclose(f);
	return n;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	root = own_root("size=96m");
	uint64_t empty = bytes_free(root);
	size_t P = page(), size = 16 * MIB;
	const char *name = unique("region");
	struct peer p = peer_exec(), q = peer_fork();
	int fd = region_new(name, GIB);
	uint64_t reserved = bytes_free(root);

	check(empty - reserved < 4 * MIB,
	      "rule 8: a region without memory takes little (%" PRIu64 ")", empty - reserved);
	must(mshare_map(fd, 0, size, RW, MSHARE_MAP_POPULATE, -1, 0) == 0);
	check(used_since(reserved) >= size && used_since(reserved) < size + MIB,
	      "rule 8: mapped memory is taken");
	int pf = p_open(&p, name, O_RDWR, 0), qf = p_open(&q, name, O_RDWR, 0);
	char *w = p_attach(&p, pf, NULL, RW, 0);

	must(w != MAP_FAILED && p_attach(&q, qf, NULL, RW, 0) == w);
	for (size_t o = 0; o < size; o += MIB)
		must(p_store(&p, w + o, o + 1) == 0);
	check(mshare_unmap(fd, 0, size / 2) == 0 && used_since(reserved) < size / 2 + MIB,
	      "rule 8: unmap has freed when it returns");
	uint64_t resident = info_of(fd).resident;

	check(mshare_advise(fd, size / 2, MIB, MADV_REMOVE) == 0 &&
		      info_of(fd).resident + MIB <= resident + MIB / 16 &&
		      p_load(&p, w + size / 2, NULL) == 0,
	      "rule 8: so has MADV_REMOVE");

	/* Unlinked, closed: two attachments hold it. */
	check(mshare_unlink(name) == 0, "unlink");
	close(fd);
	p_close(&p, pf);
	p_close(&q, qf);
	uint64_t v = 0;

	check(used_since(empty) >= size / 2 - MIB && p_load(&q, w + size - MIB, &v) == 0 &&
		      v == size - MIB + 1,
	      "rule 8: unlinked and closed, the attachments keep the memory");
	check(p_detach(&p, w) == 0 && used_since(empty) >= size / 2 - MIB, "rule 8: one is left");
	check(p_detach(&q, w) == 0 && used_since(empty) == 0,
	      "rule 8: the last one detaches: all is free, at once");

	/* The same by death. */
	fd = region_new(name, GIB);
	must(mshare_map(fd, 0, size, RW, 0, -1, 0) == 0);
	pf = p_open(&p, name, O_RDWR, 0);
	must(p_attach(&p, pf, NULL, RW, 0) != MAP_FAILED);
	must(mshare_unlink(name) == 0);
	close(fd);
	check(used_since(empty) >= size, "rule 8: one process has it");
	p_kill(&p);
	check_eq(used_since(empty), 0, "rule 8: it is killed: all is free, at once");

	/* And by close alone, never attached. */
	fd = region_new(name, GIB);
	must(mshare_map(fd, 0, size, RW, 0, -1, 0) == 0);
	must(mshare_unlink(name) == 0);
	check(used_since(empty) >= size, "rule 8: unlinked and open");
	close(fd);
	check_eq(used_since(empty), 0, "rule 8: closed: all is free, at once");

	/* Closed and detached, not unlinked: it stays. */
	fd = region_new(name, GIB);
	must(mshare_map(fd, 0, size, RW, 0, -1, 0) == 0);
	w = mshare_attach(fd, NULL, RW, 0);
	must(w != MAP_FAILED && store(w + P, 5) == 0 && mshare_detach(w) == 0);
	close(fd);
	check(used_since(empty) >= size, "rule 8: a name keeps the memory");
	check(mshare_unlink(name) == 0 && used_since(empty) == 0, "rule 8: until it goes");
	check(p_end(&q), "the peer ended well");

	/* Unnamed: on msharefs it is on the root's mount, and counts there. */
	if (!on_shm()) {
		fd = region_new(NULL, GIB);
		must(mshare_map(fd, 0, 64 * MIB, RW, 0, -1, 0) == 0);
		w = mshare_attach(fd, NULL, RW, 0);
		must(w != MAP_FAILED && store(w, 1) == 0);
		close(fd);
		check(used_since(empty) >= 64 * MIB, "rule 8: an unnamed region, attached");
		check(mshare_detach(w) == 0 && used_since(empty) == 0,
		      "rule 8: its memory goes with its last attachment");
		return done();
	}
	/*
	 * Its memory is the kernel's own tmpfs, which only the whole
	 * machine's count shows; others use that as well, so it is tried again.
	 */
	bool freed = false;
	long taken = 0, left = 0;

	for (int i = 0; i < 20 && !freed; i++) {
		long before = shmem_kb();

		fd = region_new(NULL, GIB);
		must(mshare_map(fd, 0, 128 * MIB, RW, 0, -1, 0) == 0);
		w = mshare_attach(fd, NULL, RW, 0);
		must(w != MAP_FAILED);
		close(fd);
		taken = shmem_kb() - before;
		must(mshare_detach(w) == 0);
		left = shmem_kb() - before;
		freed = taken > 96 * 1024 && left < 32 * 1024;
	}
	note("unnamed: %ld kB taken, %ld kB left", taken, left);
	check(freed, "rule 8: an unnamed region's memory goes with its last attachment");
	return done();
}
