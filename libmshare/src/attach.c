// SPDX-License-Identifier: MIT
#include "backend.h"

#include <fcntl.h>
#include <sys/mman.h>

void *mshare_attach(int fd, void *addr, int prot, int flags)
{
	static const char verb[] = "mshare_attach";
	const struct backend *backend = backend_of(fd, verb);
	int access;

	if (!backend)
		return MAP_FAILED;
	if (prot != PROT_READ && prot != (PROT_READ | PROT_WRITE)) {
		fail(EINVAL, "%s: prot 0x%x is neither PROT_READ nor PROT_READ | PROT_WRITE", verb,
		     (unsigned int)prot);
		return MAP_FAILED;
	}
	if (flags & ~ATTACH_FLAGS) {
		fail(EINVAL, "%s: flags 0x%x has unknown bits", verb, (unsigned int)flags);
		return MAP_FAILED;
	}
	if ((uintptr_t)addr % ALIGNMENT) {
		fail(EINVAL, "%s: the address, %p, has to be a multiple of the alignment, 0x%llx",
		     verb, addr, (unsigned long long)ALIGNMENT);
		return MAP_FAILED;
	}
	if (flags & MSHARE_ATTACH_REQUIRE_SHARED_TABLES &&
	    !(backend->capabilities & MSHARE_CAP_SHARED_PAGE_TABLES)) {
		fail(EOPNOTSUPP,
		     "%s: shared page tables are required, and the region is on the shm back end, "
		     "which gives every attacher its own",
		     verb);
		return MAP_FAILED;
	}
	access = fcntl(fd, F_GETFL);
	if (access == -1 || access & O_PATH) {
		fail(EBADF, "%s: descriptor %d was opened with O_PATH", verb, fd);
		return MAP_FAILED;
	}
	access &= O_ACCMODE;
	if (access == O_WRONLY || (prot & PROT_WRITE && access != O_RDWR)) {
		fail(EACCES, "%s: descriptor %d is open %s, which does not allow prot 0x%x", verb,
		     fd, access == O_WRONLY ? "write-only" : "read-only", (unsigned int)prot);
		return MAP_FAILED;
	}
	return backend->attach(fd, addr, prot, flags);
}
