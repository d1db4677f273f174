// SPDX-License-Identifier: MIT
/*
 * mshare-run: a program, with libmshare-preload.so before its libc. mshare-run(1)
 * says how. What keeps the library from working is said before the program
 * starts, which it does in any case: it runs as it would have.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <linux/msharefs.h>
#include <mshare.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char usage[] =
	"usage: mshare-run [-t SIZE] [-l FILE] [-q] [--] COMMAND [ARGUMENT...]\n"
	"\n"
	"Runs COMMAND with shared page tables for the large shared memory that its\n"
	"processes inherit from one another, where the kernel has msharefs.\n"
	"\n"
	"  -t, --threshold SIZE  what is large, in bytes, or like 64M; default 16M\n"
	"  -l, --log FILE        what is done, a line each, after what is there; - is stderr\n"
	"  -q, --quiet           say nothing about what keeps it from working\n"
	"  -h, --help\n"
	"  -V, --version\n"
	"\n"
	"The exit status is COMMAND's own, or 125 if mshare-run fails, 126 if COMMAND\n"
	"cannot be run, 127 if there is none.\n";

static bool quiet;

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
	va_list args;

	if (quiet)
		return;
	fputs("mshare-run: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* As execvp() finds it. */
static bool find(const char *command, char *path)
{
	const char *at = getenv("PATH"), *end;

	if (strchr(command, '/'))
		return snprintf(path, PATH_MAX, "%s", command) < PATH_MAX;
	for (at = at ? at : "/bin:/usr/bin"; at; at = *end ? end + 1 : NULL) {
		end = strchrnul(at, ':');
		if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)(end - at), at, end > at ? "/" : "",
			     command) < PATH_MAX &&
		    access(path, X_OK) == 0)
			return true;
	}
	return false;
}

/* Why the loader would not load the library into it; NULL: it would, as far as can be seen. */
static const char *obstacle(const char *path, char *interpreter)
{
	static const unsigned char ours[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64};
	union {
		Elf64_Ehdr elf;
		char text[PATH_MAX];
	} head = {0};
	struct statx st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	const char *why = NULL;
	ssize_t n;

	interpreter[0] = 0;
	/* Who may not read it may run it all the same; it says for itself what is wrong. */
	if (fd == -1)
		return NULL;
	n = read(fd, &head, sizeof(head) - 1);
	if (n >= 2 && memcmp(head.text, "#!", 2) == 0) {
		const char *name = head.text + 2 + strspn(head.text + 2, " \t");

		snprintf(interpreter, PATH_MAX, "%.*s", (int)strcspn(name, " \t\n"), name);
	} else if (n >= (ssize_t)sizeof(head.elf) && memcmp(&head.elf, ours, SELFMAG) == 0) {
		bool dynamic = false;

		if (memcmp(&head.elf, ours, sizeof(ours)) != 0 ||
		    head.elf.e_phentsize != sizeof(Elf64_Phdr))
			why = "it is not a 64-bit program";
		for (int i = 0; !why && i < head.elf.e_phnum; i++) {
			Elf64_Phdr segment;

			if (pread(fd, &segment, sizeof(segment),
				  (off_t)(head.elf.e_phoff + (uint64_t)i * sizeof(segment))) !=
			    sizeof(segment))
				break;
			dynamic |= segment.p_type == PT_INTERP;
		}
		if (!why && !dynamic)
			why = "it is statically linked, and nothing can be put before its libc";
		else if (!why && statx(fd, "", AT_EMPTY_PATH, STATX_MODE, &st) == 0 &&
			 st.stx_mode & (S_ISUID | S_ISGID))
			why = "it changes its user or group, for which the loader leaves out what "
			      "others want loaded";
		else if (!why && fgetxattr(fd, "security.capability", NULL, 0) > 0)
			why = "it has capabilities of its own, for which the loader leaves out "
			      "what "
			      "others want loaded";
	}
	close(fd);
	return why;
}

/* The same, of what interprets it in the end. */
static void judge(const char *path)
{
	char name[PATH_MAX], interpreter[PATH_MAX];
	const char *why = NULL;

	snprintf(name, sizeof(name), "%s", path);
	for (int i = 0; i < 5 && !why; i++) {
		why = obstacle(name, interpreter);
		if (!interpreter[0])
			break;
		snprintf(name, sizeof(name), "%s", interpreter);
	}
	if (why)
		say("%s runs as it is: %s", name, why);
}

/*
 * Where the library is: of this build, or installed, there or elsewhere with the same way from one
 * to the other.
 */
static bool library(char *path)
{
	static const char *const places[] = {"/", "/" SHIM "/"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = 0;
		dirname(self);
		for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
			if (snprintf(path, PATH_MAX, "%s%slibmshare-preload.so", self, places[i]) <
				    PATH_MAX &&
			    access(path, R_OK) == 0)
				return true;
	}
	return snprintf(path, PATH_MAX, "%s/libmshare-preload.so", SHIMDIR) < PATH_MAX &&
	       access(path, R_OK) == 0;
}

static void set(const char *name, const char *value)
{
	if (setenv(name, value, 1) == 0)
		return;
	fprintf(stderr, "mshare-run: %s: %s\n", name, strerror(errno));
	exit(125);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"threshold", required_argument, NULL, 't'}, {"log", required_argument, NULL, 'l'},
		{"quiet", no_argument, NULL, 'q'},           {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},         {0},
	};
	const char *root = getenv("MSHARE_ROOT"), *others = getenv("LD_PRELOAD");
	char path[PATH_MAX], file[PATH_MAX], log[PATH_MAX], *list;
	struct statfs fs;
	int option;

	while ((option = getopt_long(argc, argv, "+t:l:qhV", options, NULL)) != -1) {
		switch (option) {
		case 't':
			set("MSHARE_PRELOAD_THRESHOLD", optarg);
			break;
		case 'l':
			/* Its processes may be in other directories. */
			if (strcmp(optarg, "-") != 0 && optarg[0] != '/') {
				if (!getcwd(path, sizeof(path)) ||
				    snprintf(log, sizeof(log), "%s/%s", path, optarg) >=
					    (int)sizeof(log)) {
					fprintf(stderr, "mshare-run: %s: no such name\n", optarg);
					return 125;
				}
				optarg = log;
			}
			set("MSHARE_PRELOAD_LOG", optarg);
			break;
		case 'q':
			quiet = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("mshare-run " MSHARE_VERSION);
			return 0;
		default:
			fputs(usage, stderr);
			return 125;
		}
	}
	if (optind == argc) {
		fputs(usage, stderr);
		return 125;
	}
	if (!library(path) || strpbrk(path, " :")) {
		fprintf(stderr, "mshare-run: there is no libmshare-preload.so that the loader "
				"could be told of\n");
		return 125;
	}
	root = root && *root ? root : "/sys/fs/mshare";
	if (statfs(root, &fs) == -1 || fs.f_type != MSHAREFS_SUPER_MAGIC)
		say("%s runs as it is: there is no msharefs at %s", argv[optind], root);
	else if (find(argv[optind], file))
		judge(file);

	if (others && *others && asprintf(&list, "%s:%s", path, others) == -1)
		return 125;
	set("LD_PRELOAD", others && *others ? list : path);
	execvp(argv[optind], argv + optind);
	fprintf(stderr, "mshare-run: %s: %s\n", argv[optind], strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
