// SPDX-License-Identifier: MIT
/*
 * Builds for tests only (-DMSHARE_TEST_POINTS): places to die, stop or fail at.
 *
 *	MSHARE_TEST_KILL=point[:n]	SIGKILL oneself at the n-th passage (the first)
 *	MSHARE_TEST_STOP=point[:n]	SIGSTOP likewise
 *	MSHARE_TEST_FAIL=point=errno	that step fails, every time
 *	MSHARE_TEST_FAIL=point:n=errno	that step fails at the n-th passage
 *
 * The variables are read at each passage, so that a test can set them for a part
 * of its life.
 */
#include "internal.h"

#ifdef MSHARE_TEST_POINTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Is `point` the one the variable names, and this the passage it means? */
static bool reached(const char *variable, const char *point, atomic_int *passages)
{
	const char *value = getenv(variable);
	size_t length = strlen(point);

	if (!value || strncmp(value, point, length) ||
	    (value[length] != '\0' && value[length] != ':'))
		return false;
	return atomic_fetch_add(passages, 1) + 1 == (value[length] ? atoi(value + length + 1) : 1);
}

int test_point(const char *point)
{
	static atomic_int kills, stops, failures;
	const char *value = getenv("MSHARE_TEST_FAIL");
	const char *number;
	size_t length = strlen(point);

	if (reached("MSHARE_TEST_KILL", point, &kills))
		raise(SIGKILL);
	if (reached("MSHARE_TEST_STOP", point, &stops))
		raise(SIGSTOP);
	number = value ? strchr(value, '=') : NULL;
	if (number && !strncmp(value, point, length) &&
	    (value[length] == '=' || reached("MSHARE_TEST_FAIL", point, &failures)))
		return atoi(number + 1);
	return 0;
}
#endif
