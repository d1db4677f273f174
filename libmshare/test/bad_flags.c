/* SPDX-License-Identifier: MIT */
/* Bad input: bits of prot, flags, oflag and mode that are unknown. */
#include "map_util.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region");
	int fd = region_new(name, GIB);
	int bit;
	uint32_t capabilities = backend().capabilities;

	must(mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
	uint64_t generation = info_of(fd).generation;

	for (bit = 3; bit < 32; bit++) {
		int prot = (int)(1u << bit);

		check_error(mshare_map(fd, 4 * P, P, RW | prot, 0, -1, 0), EINVAL,
			    "map: prot bit %d", bit);
		check_error(mshare_protect(fd, 0, P, prot), EINVAL, "protect: prot bit %d", bit);
		check_error(mshare_attach(fd, NULL, PROT_READ | prot, 0), EINVAL,
			    "attach: prot bit %d", bit);
		check_error(mshare_map(fd, 4 * P, P, RW, (int)(1u << bit), -1, 0), EINVAL,
			    "map: flag bit %d", bit);
		if (bit > 3)
			check_error(mshare_attach(fd, NULL, RW, (int)(1u << bit)), EINVAL,
				    "attach: flag bit %d", bit);
	}
	for (bit = 0; bit < 32; bit++)
		if (1u << bit != MSHARE_REQUIRE_SHARED_PAGE_TABLES)
			check_error(mshare_create(1u << bit, 0600), EINVAL, "create: flag bit %d",
				    bit);
	check_error(mshare_attach(fd, NULL, PROT_NONE, 0), EINVAL, "attach: PROT_NONE");
	check_error(mshare_attach(fd, NULL, PROT_WRITE, 0), EINVAL, "attach: PROT_WRITE alone");
	check_error(mshare_attach(fd, NULL, PROT_EXEC, 0), EINVAL, "attach: PROT_EXEC");
	check_error(mshare_attach(fd, NULL, RW | PROT_EXEC, 0), EINVAL,
		    "rule 6: attach: with PROT_EXEC");

	/* What one back end cannot do it refuses as such. */
	if (!(capabilities & MSHARE_CAP_HUGETLB))
		check_error(mshare_map(fd, 0x200000, 0x200000, RW, MSHARE_MAP_HUGETLB, -1, 0),
			    EOPNOTSUPP, "map: MSHARE_MAP_HUGETLB where it is no capability");
	if (!(capabilities & MSHARE_CAP_FILE_BACKING)) {
		int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

		must(file >= 0);
		check_error(mshare_map(fd, 4 * P, P, PROT_READ, 0, file, 0), EOPNOTSUPP,
			    "map: a backing file where it is no capability");
		close(file);
	}
	check_error(mshare_map(fd, 4 * P, P, RW, 0, -2, 0), EINVAL, "map: backing_fd -2");
	check_error(mshare_map(fd, 4 * P, P, RW, 0, -1, (off_t)P), EINVAL,
		    "map: memory with a backing offset");
	check_error(mshare_map(fd, 4 * P, P, RW, 0, -1, -1), EINVAL,
		    "map: a negative backing offset");

	/* oflag. */
	static const int oflags[] = {O_WRONLY,   O_ACCMODE, O_TRUNC,     O_APPEND,
				     O_NONBLOCK, O_SYNC,    O_DIRECTORY, O_NOFOLLOW,
				     O_PATH,     O_TMPFILE, O_DIRECT,    O_NOCTTY};

	for (size_t i = 0; i < sizeof(oflags) / sizeof(oflags[0]); i++) {
		check_error(mshare_open(name, (i < 2 ? 0 : O_RDWR) | oflags[i], 0), EINVAL,
			    "open: oflag %#o", oflags[i]);
		check_error(mshare_reopen(fd, (i < 2 ? 0 : O_RDWR) | oflags[i]), EINVAL,
			    "reopen: oflag %#o", oflags[i]);
	}
	check_error(mshare_reopen(fd, O_RDWR | O_CREAT), EINVAL, "reopen: O_CREAT");
	check_error(mshare_open(name, -1, 0), EINVAL, "open: all bits");
	int with_cloexec = mshare_open(name, O_RDWR | O_CLOEXEC, 0);

	check(with_cloexec >= 0, "open: O_CLOEXEC is in force anyway, and accepted");

	/* mode. */
	const char *other = unique("mode");

	for (mode_t mode = 01000; mode <= 0100000; mode <<= 1) {
		check_error(mshare_open(other, O_RDWR | O_CREAT, mode | 0600), EINVAL,
			    "open: mode bit %#o", mode);
		check_error(mshare_create(0, mode | 0600), EINVAL, "create: mode bit %#o", mode);
	}
	check(mshare_open(name, O_RDWR, 07777) >= 0,
	      "open: without O_CREAT the mode is not looked at");

	check(info_of(fd).generation == generation && MAPPED_IS(fd, {0, P, RW, 0}) &&
		      info_of(fd).attachments == 0,
	      "rule 2: nothing of these changed anything");
	return done();
}
