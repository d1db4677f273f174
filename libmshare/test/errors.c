/* SPDX-License-Identifier: MIT */
/*
 * mshare_errno() and mshare_errmsg(): of this thread's last failure, and out of
 * reach of other calls.
 */
#include "test.h"

#include <pthread.h>

static const char *name;

static void *other_thread(void *arg)
{
	(void)arg;
	/* Nothing has failed here. */
	if (mshare_errno() != 0 || !mshare_errmsg() || *mshare_errmsg())
		return (void *)1;
	if (mshare_detach((void *)64) != -1 || mshare_errno() != EINVAL)
		return (void *)2;
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	check(mshare_errno() == 0 && mshare_errmsg() != NULL && !*mshare_errmsg(),
	      "before any failure: 0 and an empty sentence, never NULL");
	name = unique("nothing");
	errno = 0;
	check(mshare_open(name, O_RDWR, 0) == -1 && errno == ENOENT && mshare_errno() == ENOENT,
	      "a failure sets errno and mshare_errno");
	char first[1024];

	snprintf(first, sizeof(first), "%s", mshare_errmsg());
	note("%s", first);
	check(strstr(first, name) && strstr(first, "mshare_open") && !strchr(first, '\n'),
	      "the sentence names the call and the region");

	/* Calls that succeed, and other people's failures. */
	int fd = region_new(unique("region"), GIB);

	must(mshare_map(fd, 0, page(), RW, 0, -1, 0) == 0);
	close(-1);
	open("/nonexistent", O_RDONLY);
	errno = EDOM;
	check(mshare_errno() == ENOENT && !strcmp(mshare_errmsg(), first) && errno == EDOM,
	      "calls that succeed and calls of others leave it alone; asking leaves errno alone");

	/* Per thread. */
	pthread_t t;
	void *result;

	must(pthread_create(&t, NULL, other_thread, NULL) == 0 && pthread_join(t, &result) == 0);
	check_eq((uintptr_t)result, 0, "another thread has its own");
	check(mshare_errno() == ENOENT && !strcmp(mshare_errmsg(), first),
	      "whose failures do not show here");

	/* A child of fork has its own from then on. */
	struct peer p = peer_fork();

	check(p_open(&p, "no/such/name", O_RDWR, 0) == -1 && errno == ENOENT &&
		      strstr(peer_errmsg, "no/such"),
	      "a child's failures have their own sentence");
	check(mshare_errno() == ENOENT && !strcmp(mshare_errmsg(), first), "and do not show here");
	check(p_end(&p), "the child ended well");

	/* Each failure replaces the one before. */
	check_error(mshare_map(fd, 0, page(), RW, 0, -1, 0), EEXIST, "another failure");
	check(strcmp(mshare_errmsg(), first) != 0, "has another sentence");
	check_error(mshare_map(fd, 1, page(), RW, 0, -1, 0), EINVAL, "and another");

	/* Long and odd names end up in a sentence that is whole. */
	char longest[PATH_MAX];

	memset(longest, 'y', sizeof(longest));
	for (size_t i = 200; i < sizeof(longest); i += 200)
		longest[i] = '/';
	longest[sizeof(longest) - 50] = 0;
	check(mshare_open(longest, O_RDWR, 0) == -1 && strlen(mshare_errmsg()) < 1000,
	      "a very long name gives a short sentence");
	check_error(mshare_open("%s%n%s", O_RDWR, 0), ENOENT, "a name is no format");
	check(strstr(mshare_errmsg(), "%s%n%s") != NULL, "and is shown as it is");
	return done();
}
