// SPDX-License-Identifier: MIT
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static __thread struct error_state last;

int fail(int err, const char *format, ...)
{
	va_list args;
	char text[80];
	size_t used;

	last.err = err;
	va_start(args, format);
	vsnprintf(last.message, sizeof(last.message), format, args);
	va_end(args);
	/* The errno's own words last, for those who know them better than ours. */
	used = strlen(last.message);
	snprintf(last.message + used, sizeof(last.message) - used, " (%s)",
		 strerror_r(err, text, sizeof(text)));
	errno = err;
	return -1;
}

void error_save(struct error_state *state)
{
	*state = last;
}

int error_raise(const struct error_state *state)
{
	last = *state;
	errno = last.err;
	return -1;
}

int mshare_errno(void)
{
	return last.err;
}

const char *mshare_errmsg(void)
{
	return last.message;
}
