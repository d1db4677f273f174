// SPDX-License-Identifier: MIT
/*
 * One process maps, protects and unmaps while others watch it happen.
 *
 * The watchers are programs of their own, attached to the region before it has
 * any memory. From then on they make no call of the library: told to look, they
 * load and store at the window's first address and say what came of it. They
 * are told when the change has returned, and must see it in force.
 */
#include <fcntl.h>
#include <mshare.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WINDOW ((size_t)1 << 30)
#define LENGTH ((size_t)64 << 10)
#define WATCHERS 3

/* What the driver maps at offset 0. */
struct page {
	char text[32];
	uint32_t stores[WATCHERS]; /* a word for each watcher to store to */
};

static void die(const char *doing)
{
	fprintf(stderr, "live-remap: %s: %s\n", doing, mshare_errmsg());
	exit(1);
}

/* A watcher. */

static sigjmp_buf fault;

static void on_fault(int signal)
{
	(void)signal;
	siglongjmp(fault, 1);
}

static bool try_load(const volatile char *from, char *to, size_t size)
{
	if (sigsetjmp(fault, 1) != 0)
		return false;
	for (size_t i = 0; i < size; i++)
		to[i] = from[i];
	return true;
}

static bool try_store(volatile uint32_t *to)
{
	if (sigsetjmp(fault, 1) != 0)
		return false;
	(*to)++;
	return true;
}

static int watch(const char *name, int number)
{
	int fd = mshare_open(name, O_RDWR, 0);
	char line[16], text[33] = "";
	struct page *page;

	if (fd < 0)
		die("open");
	page = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, 0);
	if (page == MAP_FAILED)
		die("attach");
	signal(SIGSEGV, on_fault);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("attached at %p\n", (void *)page);
	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (!try_load(page->text, text, sizeof(page->text)))
			puts("no access");
		else
			printf("%s \"%s\"\n",
			       try_store(&page->stores[number]) ? "readable and writable:"
								: "readable:",
			       text);
	}
	mshare_detach(page);
	return 0;
}

/* The driver. */

struct watcher {
	pid_t pid;
	FILE *tell, *hear;
};

static struct watcher start_watcher(const char *name, int number)
{
	struct watcher watcher;
	int tell[2], hear[2];
	char digit[16];

	if (pipe2(tell, O_CLOEXEC) != 0 || pipe2(hear, O_CLOEXEC) != 0 ||
	    (watcher.pid = fork()) < 0) {
		perror("live-remap: pipe, fork");
		exit(1);
	}
	if (watcher.pid == 0) {
		snprintf(digit, sizeof(digit), "%d", number);
		dup2(tell[0], STDIN_FILENO);
		dup2(hear[1], STDOUT_FILENO);
		execl("/proc/self/exe", "live-remap", "watch", name, digit, (char *)NULL);
		_exit(127);
	}
	close(tell[0]);
	close(hear[1]);
	watcher.tell = fdopen(tell[1], "w");
	watcher.hear = fdopen(hear[0], "r");
	return watcher;
}

static void hear(struct watcher *watcher, char *line, size_t size)
{
	if (fgets(line, (int)size, watcher->hear) == NULL)
		snprintf(line, size, "the watcher is gone\n");
	line[strcspn(line, "\n")] = '\0';
}

static struct watcher watchers[WATCHERS];
static bool wrong;

/* All watchers look; say what they see, and remember if it is not what it must be. */
static void look(const char *step, const char *expected)
{
	char line[128];

	printf("%s\n", step);
	for (int i = 0; i < WATCHERS; i++) {
		bool same;

		fputs("look\n", watchers[i].tell);
		fflush(watchers[i].tell);
		hear(&watchers[i], line, sizeof(line));
		same = strcmp(line, expected) == 0;
		wrong |= !same;
		printf("    watcher %d: %s%s%s\n", i + 1, line,
		       same ? "" : "   WRONG, must be: ", same ? "" : expected);
	}
}

int main(int argc, char *argv[])
{
	struct mshare_info info;
	struct page *page;
	const char *name;
	char line[128];
	int fd;

	if (argc == 4 && strcmp(argv[1], "watch") == 0)
		return watch(argv[2], atoi(argv[3]) % WATCHERS);
	name = argc > 1 ? argv[1] : "live-remap";
	fd = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		die("open");
	if (mshare_reserve(fd, NULL, WINDOW) != 0) {
		mshare_unlink(name);
		die("reserve");
	}
	mshare_info(fd, &info, sizeof(info));
	printf("region \"%s\": a window of 1 GiB at %p, %d watchers\n", name, (void *)info.base,
	       WATCHERS);
	fflush(stdout);
	for (int i = 0; i < WATCHERS; i++) {
		watchers[i] = start_watcher(name, i);
		hear(&watchers[i], line, sizeof(line));
		printf("    watcher %d, process %d: %s\n", i + 1, (int)watchers[i].pid, line);
	}
	/* Everybody who must find it by name has done so. */
	mshare_unlink(name);
	page = mshare_attach(fd, NULL, PROT_READ | PROT_WRITE, MSHARE_ATTACH_NOFORK);
	if (page == MAP_FAILED)
		die("attach");

	look("nothing is mapped", "no access");

	if (mshare_map(fd, 0, LENGTH, PROT_READ | PROT_WRITE, 0, -1, 0) != 0)
		die("map");
	strcpy(page->text, "first");
	look("map 64 KiB, read and write; store \"first\"", "readable and writable: \"first\"");

	strcpy(page->text, "second");
	if (mshare_protect(fd, 0, LENGTH, PROT_READ) != 0)
		die("protect");
	look("store \"second\"; protect: read", "readable: \"second\"");

	if (mshare_protect(fd, 0, LENGTH, PROT_NONE) != 0)
		die("protect");
	look("protect: none", "no access");

	if (mshare_protect(fd, 0, LENGTH, PROT_READ | PROT_WRITE) != 0)
		die("protect");
	look("protect: read and write; the contents are still there",
	     "readable and writable: \"second\"");

	if (mshare_unmap(fd, 0, LENGTH) != 0)
		die("unmap");
	look("unmap", "no access");

	if (mshare_map(fd, 0, LENGTH, PROT_READ | PROT_WRITE, 0, -1, 0) != 0)
		die("map");
	look("map again: new memory, zeroed", "readable and writable: \"\"");

	for (int i = 0; i < WATCHERS; i++) {
		int status;

		fclose(watchers[i].tell); /* it ends at the end of its input */
		if (waitpid(watchers[i].pid, &status, 0) < 0 || status != 0)
			wrong = true;
		fclose(watchers[i].hear);
	}
	mshare_detach(page);
	close(fd);
	puts(wrong ? "a watcher saw something else" : "every watcher saw every change");
	return wrong;
}
