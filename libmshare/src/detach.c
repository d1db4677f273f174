// SPDX-License-Identifier: MIT
#include "backend.h"

int mshare_detach(void *addr)
{
	int result = backend_shm.detach(addr);

	if (result == 1)
		result = backend_msharefs.detach(addr);
	if (result == 1)
		return fail(EINVAL, "mshare_detach: no attachment of this process begins at %p",
			    addr);
	return result;
}
