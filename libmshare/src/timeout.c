// SPDX-License-Identifier: MIT
#include "internal.h"

#include <stdatomic.h>

static atomic_int limit = 10000;

int mshare_set_timeout(int milliseconds)
{
	if (milliseconds < 0)
		return fail(EINVAL, "mshare_set_timeout: %d ms is negative; 0 waits for ever",
			    milliseconds);
	atomic_store(&limit, milliseconds);
	return 0;
}

int time_limit(void)
{
	return atomic_load(&limit);
}
