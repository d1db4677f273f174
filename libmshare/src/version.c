// SPDX-License-Identifier: MIT
#include "internal.h"

const char *mshare_version(void)
{
	return MSHARE_VERSION;
}
