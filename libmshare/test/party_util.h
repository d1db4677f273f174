/* SPDX-License-Identifier: MIT */
/*
 * Parties, which are forked children that run a function of the test and keep
 * step with it.
 */
#ifndef MSHARE_TEST_PARTY_UTIL_H
#define MSHARE_TEST_PARTY_UTIL_H

#include "test.h"

struct party {
	pid_t pid;
	int sock;
};

/* In the party's function as well: its end of the line. */
static int party_sock __attribute__((unused)) = -1;

static inline void party_say(int sock, int64_t value)
{
	ssize_t n;

	do
		n = send(sock, &value, sizeof(value), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	must(n == sizeof(value));
}

/* INT64_MIN: the other end has gone. */
static inline int64_t party_hear(int sock)
{
	int64_t value;
	ssize_t n;

	do
		n = recv(sock, &value, sizeof(value), 0);
	while (n < 0 && errno == EINTR);
	return n == sizeof(value) ? value : INT64_MIN;
}

/*
 * A child that runs fn(arg) and exits with its value. It has what this process
 * has, attachments too, so it is mostly started before there are any. It goes
 * with this process.
 */
static inline struct party party_start(int (*fn)(void *), void *arg)
{
	int pair[2];
	struct party p;

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	p.pid = fork();
	must(p.pid >= 0);
	if (p.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		party_sock = pair[1];
		_exit(fn(arg));
	}
	close(pair[1]);
	p.sock = pair[0];
	return p;
}

/* The party side: report, and wait for leave to go on. A lost parent ends it. */
static inline int64_t party_report(int64_t value)
{
	party_say(party_sock, value);
	int64_t go = party_hear(party_sock);

	if (go == INT64_MIN)
		_exit(2);
	return go;
}

/* This side: its next report. */
static inline int64_t party_await(struct party *p)
{
	return party_hear(p->sock);
}

static inline void party_go(struct party *p, int64_t value)
{
	party_say(p->sock, value);
}

/* Let go on, and have the next report. */
static inline int64_t party_next(struct party *p, int64_t value)
{
	party_go(p, value);
	return party_await(p);
}

/* Its wait status, once it has ended by itself. */
static inline int party_end(struct party *p)
{
	int status = -1;

	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(p->sock);
	p->sock = -1;
	return status;
}

static inline void party_kill(struct party *p)
{
	kill(p->pid, SIGKILL);
	party_end(p);
}

/* Does mshare_errmsg() name this number as a word of its own? */
static inline bool errmsg_has_number(long number)
{
	const char *text = mshare_errmsg();

	while (*text) {
		if (*text < '0' || *text > '9') {
			text++;
			continue;
		}
		char *end;

		if (strtol(text, &end, 10) == number)
			return true;
		text = end;
	}
	return false;
}

/* Wait until an attachment count is reached: what is not at once, but surely comes. */
static inline bool settles(int fd, uint32_t attachments, uint32_t stragglers)
{
	struct mshare_info info;
	uint64_t end = now_ms() + 20000;

	do {
		info = info_of(fd);
		if (info.attachments == attachments && info.stragglers == stragglers)
			return true;
		usleep(1000);
	} while (now_ms() < end);
	note("attachments %u (wanted %u), stragglers %u (wanted %u)", info.attachments, attachments,
	     info.stragglers, stragglers);
	return false;
}

/*
 * Wait until a thread, or a process with one thread, sleeps in the kernel. What
 * it sleeps on the caller knows, by what it did last that did not sleep.
 */
static inline bool falls_asleep(pid_t tid)
{
	uint64_t end = now_ms() + 20000;
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	do {
		FILE *f = fopen(path, "re");
		char *state = f && fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;

		if (f)
			fclose(f);
		if (state && state[1] && state[2] == 'S')
			return true;
		usleep(1000);
	} while (now_ms() < end);
	return false;
}

/* Does this process have anything mapped in the range? */
static inline bool contains_mapping(const void *start, size_t length)
{
	unsigned long long from, to;
	char line[512];
	bool found = false;
	FILE *maps = fopen("/proc/self/maps", "re");

	must(maps != NULL);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%llx-%llx", &from, &to) == 2 &&
		    from < (uintptr_t)start + length && to > (uintptr_t)start)
			found = true;
	fclose(maps);
	return found;
}

#endif
