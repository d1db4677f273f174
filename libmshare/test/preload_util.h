/* SPDX-License-Identifier: MIT */
/*
 * For tests of libmshare-preload.so: this program once more, with the library
 * before its libc or without, and what it prints.
 */
#ifndef PRELOAD_UTIL_H
#define PRELOAD_UTIL_H

#include "test.h"

/* Smaller than anything that a program here maps on purpose. */
#define PRELOAD_THRESHOLD "64K"

static inline const char *preload_path(const char *name)
{
	static char path[PATH_MAX];

	/* build/test/PROGRAM and build/NAME */
	snprintf(path, sizeof(path), "%s", tap.self);
	for (int i = 0; i < 2; i++)
		*strrchr(path, '/') = 0;
	snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
	return path;
}

static inline char *preload_log(void)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", temp_path("log"));
	return path;
}

/* How often the log of the runs so far says it. */
static inline int preload_said(const char *what)
{
	char line[512];
	FILE *f = fopen(preload_log(), "re");
	int n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	if (f)
		fclose(f);
	return n;
}

/*
 * Run a command; what it says on stdout is in *out, to be freed. Gives the status
 * of waitpid(). With NAME=VALUE pairs in its environment, up to a NULL.
 */
static inline int run_for_output(char *const *command, const char *const *env, char **out)
{
	size_t room = 1 << 16, length = 0;
	int ends[2], status;
	ssize_t n;
	pid_t pid;

	must(pipe2(ends, O_CLOEXEC) == 0);
	*out = malloc(room + 1);
	must(*out);
	pid = fork();
	must(pid >= 0);
	if (!pid) {
		dup2(ends[1], STDOUT_FILENO);
		for (int i = 0; env && env[i]; i++)
			putenv((char *)env[i]);
		execvp(command[0], command);
		_exit(127);
	}
	close(ends[1]);
	while ((n = read(ends[0], *out + length, room - length)) > 0 ||
	       (n == -1 && errno == EINTR)) {
		length += n > 0 ? (size_t)n : 0;
		if (length == room) {
			room *= 2;
			*out = realloc(*out, room + 1);
			must(*out);
		}
	}
	(*out)[length] = 0;
	close(ends[0]);
	while (waitpid(pid, &status, 0) == -1)
		must(errno == EINTR);
	return status;
}

/* This program, as `PROGRAM arg number`. */
static inline int run_self(bool preloaded, const char *arg, unsigned int number, char **out)
{
	static char preload[PATH_MAX + 16], log[PATH_MAX + 32];
	const char *env[] = {NULL, log, "MSHARE_PRELOAD_THRESHOLD=" PRELOAD_THRESHOLD, NULL};
	char text[16], *command[] = {tap.self, (char *)arg, text, NULL};

	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", preload_path("libmshare-preload.so"));
	snprintf(log, sizeof(log), "MSHARE_PRELOAD_LOG=%s", preload_log());
	snprintf(text, sizeof(text), "%u", number);
	env[0] = preloaded ? preload : "LD_PRELOAD=";
	return run_for_output(command, env, out);
}

/* The first line in which they differ, or NULL. */
static inline const char *first_difference(const char *a, const char *b)
{
	static char text[1200];

	for (int line = 1; *a || *b; line++) {
		int x = (int)strcspn(a, "\n"), y = (int)strcspn(b, "\n");

		if (x != y || memcmp(a, b, (size_t)x)) {
			snprintf(text, sizeof(text), "line %d: \"%.*s\" and \"%.*s\"", line,
				 x < 500 ? x : 500, a, y < 500 ? y : 500, b);
			return text;
		}
		a += x + (a[x] == '\n');
		b += y + (b[y] == '\n');
	}
	return NULL;
}

#endif /* PRELOAD_UTIL_H */
