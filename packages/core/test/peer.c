// SPDX-License-Identifier: MIT
/*
 * A process in C that does what it is told, line by line, and answers each with
 * a line: a number, or the errno's name of what failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <mshare.h>

static int fd = -1;
static char *window;

static void answer(int result)
{
	if (result == -1)
		printf("%s\n", strerrorname_np(mshare_errno()));
	else
		printf("%d\n", result);
}

static void attach(int prot)
{
	void *addr = mshare_attach(fd, NULL, prot, 0);

	if (addr == MAP_FAILED) {
		answer(-1);
		return;
	}
	window = addr;
	printf("%" PRIuPTR "\n", (uintptr_t)addr);
}

int main(void)
{
	char line[512], verb[32], name[256];
	unsigned long long a, b, c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		a = b = c = 0;
		if (sscanf(line, "open %255s %llu", name, &a) == 2) {
			fd = mshare_open(name, (int)a, 0);
			answer(fd == -1 ? -1 : 0);
			continue;
		}
		if (sscanf(line, "%31s %llu %llu %llu", verb, &a, &b, &c) < 1)
			continue;
		if (!strcmp(verb, "attach"))
			attach((int)a);
		else if (!strcmp(verb, "detach"))
			answer(mshare_detach(window));
		else if (!strcmp(verb, "map"))
			answer(mshare_map(fd, a, b, (int)c, 0, -1, 0));
		else if (!strcmp(verb, "unmap"))
			answer(mshare_unmap(fd, a, b));
		else if (!strcmp(verb, "protect"))
			answer(mshare_protect(fd, a, b, (int)c));
		else if (!strcmp(verb, "load"))
			printf("%d\n", *(volatile int *)(window + a));
		else if (!strcmp(verb, "store")) {
			*(volatile int *)(window + a) = (int)b;
			answer(0);
		} else if (!strcmp(verb, "add")) {
			for (; b; b--)
				__atomic_fetch_add((int *)(window + a), 1, __ATOMIC_SEQ_CST);
			answer(0);
		} else
			printf("unknown\n");
	}
	return 0;
}
