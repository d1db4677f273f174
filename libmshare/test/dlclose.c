/* SPDX-License-Identifier: MIT */
/*
 * dlclose(): a program loads the library, attaches and closes the library again.
 * The attachment goes on, and fork works: the library stays.
 */
#include "party_util.h"

#include <dlfcn.h>

static const char *name;
static char library[PATH_MAX];

static int loader(void *arg)
{
	size_t P = page();
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

	(void)arg;
	if (!handle) {
		note("dlopen: %s", dlerror());
		return 1;
	}
	int (*open_region)(const char *, int, mode_t);
	void *(*attach)(int, void *, int, int);
	int (*map)(int, size_t, size_t, int, int, int, off_t);
	int (*detach)(void *);

#define SYMBOL(variable, symbol)                                                                   \
	do {                                                                                       \
		void *at_ = dlsym(handle, symbol);                                                 \
		must(at_ != NULL);                                                                 \
		memcpy(&(variable), &at_, sizeof(variable));                                       \
	} while (0)
	SYMBOL(open_region, "mshare_open");
	SYMBOL(attach, "mshare_attach");
	SYMBOL(map, "mshare_map");
	SYMBOL(detach, "mshare_detach");
	int fd = open_region(name, O_RDWR, 0);
	char *w = fd < 0 ? MAP_FAILED : attach(fd, NULL, RW, 0);

	must(w != MAP_FAILED);
	must(map(fd, 0, P, RW, 0, -1, 0) == 0);
	must(dlclose(handle) == 0);
	/* As often as one likes. */
	for (int i = 0; i < 3; i++) {
		handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
		must(handle && dlclose(handle) == 0);
	}
	party_report(0);
	check(load(w + 8 * P, NULL) == 0, "dlclosed: a change has arrived");
	pid_t pid = fork();
	int status;

	must(pid >= 0);
	if (pid == 0) {
		alarm(60);
		/* Seen through the window: the parent says when the next change is made. */
		must(load(w + 8 * P, NULL) == 0);
		party_report(0);
		must(load(w + 9 * P, NULL) == 0);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid);
	check(exited(status, 0), "dlclosed: fork works, and the child follows");
	check(load(w + 9 * P, NULL) == 0, "dlclosed: as does this process");
	handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
	check(handle != NULL, "the library has stayed");
	SYMBOL(detach, "mshare_detach");
	check(detach(w) == 0 && load(w, NULL) == SIGSEGV, "loaded again, it knows the attachment");
	return 0;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *given = getenv("MSHARE_TEST_LIBRARY");

	/* build[/variant]/test/name */
	snprintf(library, sizeof(library), "%s", given ? given : tap.self);
	if (!given) {
		*strrchr(library, '/') = 0;
		*strrchr(library, '/') = 0;
		strcat(library, "/libmshare.so");
	}
	must(access(library, R_OK) == 0);
	name = unique("region");
	int fd = region_new(name, GIB);
	struct party p = party_start(loader, NULL);

	if (party_await(&p) != 0) {
		check(false, "the library is loaded (status %#x)", party_end(&p));
		return done();
	}
	check(mshare_map(fd, 8 * P, P, RW, 0, -1, 0) == 0, "a change, with the library closed");
	/* The next report is the child's. */
	check_eq(party_next(&p, 0), 0, "fork, with the library closed");
	struct mshare_info info = info_of(fd);

	check(info.attachments == 2 && info.stragglers == 0, "two are attached");
	check(mshare_map(fd, 9 * P, P, RW, 0, -1, 0) == 0, "another change");
	party_go(&p, 0);
	check(exited(party_end(&p), 0), "it reaches both, and they end well");
	check(settles(fd, 0, 0), "nobody is left");
	return done();
}
