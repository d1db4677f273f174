// SPDX-License-Identifier: MIT
#include "backend.h"

size_t mshare_alignment(void)
{
	return ALIGNMENT;
}

int mshare_reserve(int fd, void *base, size_t size)
{
	static const char verb[] = "mshare_reserve";
	const struct backend *backend = backend_for_change(fd, verb);
	uint64_t address = (uint64_t)(uintptr_t)base;

	if (!backend)
		return -1;
	if (size == 0 || size % ALIGNMENT)
		return fail(
			EINVAL,
			"%s: the size, 0x%zx, has to be a multiple of the alignment, 0x%llx, and "
			"not 0",
			verb, size, (unsigned long long)ALIGNMENT);
	if (address % ALIGNMENT)
		return fail(EINVAL,
			    "%s: the base, %p, has to be a multiple of the alignment, 0x%llx", verb,
			    base, (unsigned long long)ALIGNMENT);
	/* The last slot below the limit is the stack's. */
	if (size > ADDRESS_LIMIT - 2 * ALIGNMENT || address > ADDRESS_LIMIT - ALIGNMENT - size)
		return fail(EINVAL, "%s: a window of 0x%zx bytes at %p is beyond the address space",
			    verb, size, base);
	return backend->reserve(fd, address, size);
}
