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

/*
 * A test sets its variables while service threads sleep, which is order enough,
 * but is not known to ThreadSanitizer. Hence no library function that it checks.
 */
#define UNCHECKED __attribute__((no_sanitize("thread"), noinline))

/* What follows `point` in the variable's value, if that begins with it. */
UNCHECKED static const char *after(const char *variable, const char *point)
{
	const char *value = getenv(variable);

	while (value && *point)
		if (*value++ != *point++)
			return NULL;
	return value;
}

UNCHECKED static int number(const char **text)
{
	int n = 0;

	for (; **text >= '0' && **text <= '9'; ++*text)
		n = 10 * n + **text - '0';
	return n;
}

/* Is this the passage that the variable means? *rest: what else it says. */
UNCHECKED static bool reached(const char *variable, const char *point, atomic_int *passages,
			      const char **rest)
{
	int wanted = 1;

	*rest = after(variable, point);
	if (!*rest || (**rest != '\0' && **rest != ':' && **rest != '='))
		return false;
	/* A failure without a number is for every time. */
	if (**rest == '=')
		return true;
	if (**rest == ':') {
		++*rest;
		wanted = number(rest);
	}
	return atomic_fetch_add(passages, 1) + 1 == wanted;
}

UNCHECKED int test_point(const char *point)
{
	static atomic_int kills, stops, failures;
	const char *rest;

	if (reached("MSHARE_TEST_KILL", point, &kills, &rest))
		raise(SIGKILL);
	if (reached("MSHARE_TEST_STOP", point, &stops, &rest))
		raise(SIGSTOP);
	if (reached("MSHARE_TEST_FAIL", point, &failures, &rest) && *rest == '=') {
		rest++;
		return number(&rest);
	}
	return 0;
}
#endif
