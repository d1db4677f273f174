/* SPDX-License-Identifier: MIT */
/*
 * Files as backing: memory files and files of a tmpfs, shared with who has them
 * open; as much as the descriptor's mode allows; and what cannot back a region is
 * refused with the reason. (Rules 2, 5 and 6.)
 */
#include "map_util.h"
#include "mount_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	char *w = mshare_attach(fd, NULL, RW, 0);
	struct peer p = peer_unrelated();
	int there = p_open(&p, name, O_RDWR, 0);
	uint64_t v = 0;

	must(w != MAP_FAILED && p_attach(&p, there, NULL, RW, 0) == w);

	/* A memory file: the file's pages are the region's. */
	int memory = memfd_create("backing", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(memory >= 0 && ftruncate(memory, (off_t)(4 * P)) == 0);
	must(pwrite(memory, "from-outside", 12, (off_t)P) == 12);
	check(mshare_map(fd, 0, 3 * P, RW, 0, memory, (off_t)P) == 0, "map of a memory file");
	check(!memcmp(w, "from-outside", 12), "from its offset on");
	check(p_store(&p, w + 8, 4711) == 0 && value_at(w + 8) == 4711 &&
		      pread(memory, &v, 8, (off_t)P + 8) == 8 && v == 4711,
	      "a peer's store is everybody's, and the file's");
	must(pwrite(memory, &(uint64_t){815}, 8, (off_t)(2 * P)) == 8);
	check(value_at(w + P) == 815 && p_load(&p, w + P, &v) == 0 && v == 815,
	      "a write to the file is in the region");
	check(MAPPED_IS(fd, {0, 3 * P, RW, 0}) && info_of(fd).mapped == 3 * P, "it is listed");
	check(mshare_protect(fd, 0, P, PROT_READ) == 0 && p_store(&p, w, 1) == SIGSEGV &&
		      mshare_protect(fd, 0, P, RW) == 0,
	      "protect works on it");
	check(ftruncate(memory, (off_t)(2 * P)) == 0 && load(w, NULL) == 0 &&
		      load(w + P, NULL) == SIGBUS && p_load(&p, w + P, NULL) == SIGBUS,
	      "rule 5: past the end of the file: SIGBUS, for everybody");
	check(ftruncate(memory, (off_t)(4 * P)) == 0 && value_at(w + P) == 0, "until it grows");
	check_error(mshare_map(fd, 2 * P, P, RW, 0, memory, 0), EEXIST, "rule 2: over a mapping");
	close(memory);
	check(p_store(&p, w, 31) == 0 && value_at(w) == 31, "the mapping keeps a closed file");
	check(mshare_unmap(fd, 0, 3 * P) == 0 && load(w, NULL) == SIGSEGV, "unmap");

	/* As much as the descriptor's mode allows, in every attacher. */
	private_mounts();
	const char *dir = temp_path("tmpfs");
	char path[PATH_MAX + 16];

	must(mkdir(dir, 0755) == 0 && mount("mshare-test", dir, "tmpfs", 0, "size=4m") == 0);
	snprintf(path, sizeof(path), "%s/file", dir);
	int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int weak = open(path, O_RDONLY | O_CLOEXEC), blind = open(path, O_WRONLY | O_CLOEXEC);

	must(file >= 0 && weak >= 0 && blind >= 0 && ftruncate(file, (off_t)(8 * P)) == 0);
	must(pwrite(file, &(uint64_t){99}, 8, 0) == 8);
	check_error(mshare_map(fd, 0, P, RW, 0, weak, 0), EACCES,
		    "rule 6: read-write memory of a descriptor that is open to read");
	check(mshare_map(fd, 0, P, PROT_READ, 0, weak, 0) == 0 && value_at(w) == 99 &&
		      p_store(&p, w, 1) == SIGSEGV,
	      "rule 6: read-only memory of it");
	check_error(mshare_protect(fd, 0, P, RW), EACCES, "rule 6: and it cannot become more");
	check(p_store(&p, w, 1) == SIGSEGV && value_at(w) == 99, "rule 6: for nobody");
	check_error(mshare_map(fd, 4 * P, P, PROT_READ, 0, blind, 0), EACCES,
		    "rule 6: a descriptor that is open to write alone");
	check(mshare_map(fd, 4 * P, 2 * P, RW, 0, file, (off_t)(2 * P)) == 0 &&
		      p_store(&p, w + 5 * P, 5) == 0 && pread(file, &v, 8, (off_t)(3 * P)) == 8 &&
		      v == 5,
	      "a file of a tmpfs");

	/* Side by side with memory, each is what it is. */
	must(mshare_map(fd, 6 * P, 2 * P, RW, 0, -1, 0) == 0);
	check(mshare_unmap(fd, 0, 7 * P) == 0 && p_load(&p, w + 7 * P, NULL) == 0 &&
		      load(w + 5 * P, NULL) == SIGSEGV,
	      "unmap across a file and memory");
	check(pread(file, &v, 8, (off_t)(3 * P)) == 8 && v == 5, "which is the file's to keep");
	check_error(mshare_advise(fd, 0, P, MADV_NORMAL), ENOMEM, "a hole is left");
	must(mshare_map(fd, 0, 2 * P, RW, 0, file, 0) == 0);
	check_error(mshare_advise(fd, 0, P, MADV_REMOVE), EOPNOTSUPP,
		    "MADV_REMOVE is for memory: a file is its owner's");
	check(value_at(w) == 99, "and has removed nothing");

	/* Seals are honoured. */
	int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(sealed >= 0 && ftruncate(sealed, (off_t)P) == 0);
	must(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	check_error(mshare_map(fd, 16 * P, P, RW, 0, sealed, 0), EPERM,
		    "a memory file sealed against writing");

	/* What cannot back a region. */
	int pipefd[2], zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int proc = open("/proc/self/comm", O_RDWR | O_CLOEXEC), other = region_new(NULL, GIB);
	int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB), closed = dup(0);

	must(pipe2(pipefd, O_CLOEXEC) == 0 && zero >= 0 && proc >= 0 && closed >= 0);
	close(closed);
	check_error(mshare_map(fd, 16 * P, P, RW, 0, closed, 0), EBADF,
		    "a descriptor that is none");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, pipefd[0], 0), EOPNOTSUPP, "a pipe");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, zero, 0), EOPNOTSUPP, "a device");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, proc, 0), EOPNOTSUPP, "a file of /proc");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, other, 0), EINVAL, "another region");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, fd, 0), EINVAL, "the region itself");
	if (huge >= 0) {
		must(ftruncate(huge, 2 * MIB) == 0);
		check_error(mshare_map(fd, 2 * MIB, 2 * MIB, RW, 0, huge, 0), EOPNOTSUPP,
			    "a file of huge pages");
	} else {
		lacking("a file of huge pages", "memfd_create: %s", strerror(errno));
	}
	check_error(mshare_map(fd, 16 * P, P, RW, 0, file, 1), EINVAL, "an unaligned offset");
	check_error(mshare_map(fd, 16 * P, P, RW, 0, file, -(off_t)P), EOVERFLOW,
		    "a negative offset");
	check_error(mshare_map(fd, GIB, P, RW, 0, file, 0), EINVAL, "past the window");
	check(strstr(mshare_errmsg(), "window") != NULL, "the sentence says what is past what");
	check(MAPPED_IS(fd, {0, 2 * P, RW, 0}, {7 * P, P, RW, 0}),
	      "rule 2: nothing of these changed anything");

	check(mshare_detach(w) == 0 && p_end(&p), "detach");
	return done();
}
