/* SPDX-License-Identifier: MIT */
/*
 * The protocol: the region's file is cut short while the service thread sleeps
 * on a word in it. detach ends the thread, and leaves no descriptor.
 */
#include "party_util.h"

#include <dirent.h>

static int entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	must(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* The service thread, by its name. */
static pid_t service(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	pid_t tid = 0;

	must(d != NULL);
	while (!tid && (e = readdir(d))) {
		char path[300], comm[32] = "";

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		FILE *f = fopen(path, "re");

		if (f && fgets(comm, sizeof(comm), f) && !strcmp(comm, "mshare\n"))
			tid = atoi(e->d_name);
		if (f)
			fclose(f);
	}
	closedir(d);
	return tid;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	size_t P = page();
	const char *name = unique("region"); /* a memfd is sealed against this */

	/* Whatever is started or opened once, is. */
	int fd = region_new(NULL, GIB);

	must(mshare_detach(mshare_attach(fd, NULL, RW, 0)) == 0);
	close(fd);
	int descriptors = entries("/proc/self/fd");

	for (int i = 0; i < 3; i++) {
		fd = region_new(name, GIB);
		char *w = mshare_attach(fd, NULL, RW, 0);

		must(w != MAP_FAILED && mshare_map(fd, 0, P, RW, 0, -1, 0) == 0);
		pid_t tid = service();

		must(tid > 0 && falls_asleep(tid));
		must(ftruncate(fd, 0) == 0);
		check(mshare_detach(w) == 0, "detach after the file was cut short");
		close(fd);
		must(mshare_unlink(name) == 0);
		check_eq(threads_become(THREADS_ALONE), THREADS_ALONE, "no thread is left");
		check_eq(entries("/proc/self/fd"), descriptors, "and no descriptor");
		check(!contains_mapping(w, GIB), "and nothing of the window");
	}
	return done();
}
