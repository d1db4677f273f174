// SPDX-License-Identifier: MIT
/*
 * mshare-run: what it starts, with what in its environment, with which status; and
 * what it says of programs that cannot be shimmed, which run all the same.
 */
#include "preload_util.h"

#include <elf.h>

static char said[1 << 16];

/* mshare-run with these words; its status, its stdout in *out, its stderr in said. */
static int run(char **out, const char *const *words)
{
	char *command[16] = {(char *)preload_path("mshare-run")};
	const char *errors = temp_path("errors");
	int before = dup(STDERR_FILENO), fd, status, n = 1;
	ssize_t length;

	for (; words[n - 1]; n++)
		command[n] = (char *)words[n - 1];
	fd = open(errors, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	must(fd >= 0 && before >= 0);
	dup2(fd, STDERR_FILENO);
	status = run_for_output(command, NULL, out);
	dup2(before, STDERR_FILENO);
	close(before);
	length = pread(fd, said, sizeof(said) - 1, 0);
	said[length > 0 ? length : 0] = 0;
	close(fd);
	unlink(errors);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define RUN(out, ...) run(out, (const char *const[]){__VA_ARGS__, NULL})

/* exit(7), in the fewest bytes that are a program: nothing but the kernel is needed. */
static const char *static_program(unsigned char class)
{
#ifdef __aarch64__
	const int machine = EM_AARCH64;
	static const unsigned char code[] = {0xe0, 0,    0x80, 0xd2, 0xa8, 0x0b,
					     0x80, 0xd2, 1,    0,    0,    0xd4};
#else
	const int machine = EM_X86_64;
	static const unsigned char code[] = {0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05};
#endif
	struct {
		Elf64_Ehdr head;
		Elf64_Phdr segment;
		unsigned char code[sizeof(code)];
	} file = {
		.head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, class, ELFDATA2LSB,
				     EV_CURRENT},
			 .e_type = ET_EXEC,
			 .e_machine = machine,
			 .e_version = EV_CURRENT,
			 .e_entry = 0x400000 + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
			 .e_phoff = sizeof(Elf64_Ehdr),
			 .e_ehsize = sizeof(Elf64_Ehdr),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 1},
		.segment = {.p_type = PT_LOAD,
			    .p_flags = PF_R | PF_X,
			    .p_vaddr = 0x400000,
			    .p_filesz = sizeof(file),
			    .p_memsz = sizeof(file),
			    .p_align = 4096},
	};
	const char *path = strdup(temp_path(class == ELFCLASS64 ? "static" : "narrow"));
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	memcpy(file.code, code, sizeof(code));
	must(fd >= 0 && write(fd, &file, sizeof(file)) == sizeof(file) && close(fd) == 0);
	return path;
}

static const char *script(const char *interpreter)
{
	const char *path = strdup(temp_path("script"));
	FILE *f = fopen(path, "we");

	must(f);
	fprintf(f, "#! %s\nexit 5\n", interpreter);
	must(fclose(f) == 0 && chmod(path, 0755) == 0);
	return path;
}

/* The program that mshare-run starts here: its part of the environment. */
static int show(void)
{
	static const char *const names[] = {"LD_PRELOAD", "MSHARE_PRELOAD_THRESHOLD",
					    "MSHARE_PRELOAD_LOG"};

	for (int i = 0; i < 3; i++)
		printf("%s=%s\n", names[i], getenv(names[i]) ? getenv(names[i]) : "");
	return 9;
}

int main(int argc, char **argv)
{
	bool can = backend().backend == MSHARE_BACKEND_MSHAREFS;
	const char *fixed, *narrow, *name, *other;
	char *out, expected[4 * PATH_MAX];

	begin(argc, argv);
	if (argc == 2)
		return show();
	unsetenv("LD_PRELOAD");

	check_eq(RUN(&out, "--help"), 0, "--help");
	check(strstr(out, "usage:") && !*said, "is said on stdout");
	check_eq(RUN(&out, "--version"), 0, "--version");
	check(!strcmp(out, "mshare-run " MSHARE_VERSION "\n"), "is the header's: %s", out);
	check_eq(RUN(&out, "--no-such"), 125, "an unknown option: 125");
	check(strstr(said, "usage:"), "and the usage");
	check_eq(RUN(&out, "-q"), 125, "no command: 125");
	check_eq(RUN(&out, "-q", "/no/such/program"), 127, "no program: 127");
	check_eq(RUN(&out, "-q", "no-such-program"), 127, "nor in the PATH: 127");
	check_eq(RUN(&out, "-q", "/"), 126, "nothing that can be run: 126");
	check_eq(RUN(&out, "-q", "sh", "-c", "exit 3"), 3, "the status is the command's");
	check_eq(RUN(&out, "-q", "sh", "-c", "kill -9 $$"), 1009, "and so is the signal");
	check_eq(RUN(&out, "-q", "echo", "-n", "--", "-t"), 0, "the command has its own options");
	check(!strcmp(out, "-- -t"), "none of which is ours");

	check_eq(RUN(&out, "-q", "-t", "64K", "-l", "/tmp/a", tap.self, "--show"), 9, "options");
	snprintf(expected, sizeof(expected),
		 "LD_PRELOAD=%s\nMSHARE_PRELOAD_THRESHOLD=64K\nMSHARE_PRELOAD_LOG=/tmp/a\n",
		 preload_path("libmshare-preload.so"));
	check(!strcmp(out, expected), "are in the environment");
	setenv("LD_PRELOAD", "/no/such/library.so", 1);
	RUN(&out, "-q", "--log=log", tap.self, "--show");
	unsetenv("LD_PRELOAD");
	check(strstr(out, "libmshare-preload.so:/no/such/library.so\n"),
	      "what was to be loaded before still is");
	check(strstr(out, "_LOG=/") && strstr(out, "/log\n"), "a log's name is a whole one");

	RUN(&out, "true");
	check(can ? !*said : strstr(said, "no msharefs at") != NULL,
	      "it is told where there is no msharefs: \"%.*s\"", (int)strcspn(said, "\n"), said);

	/* Programs that the loader will not load it into. The mount is not what is asked for here.
	 */
	fixed = static_program(ELFCLASS64);
	check_eq(RUN(&out, fixed), 7, "a static program runs");
	check(!can || strstr(said, "statically linked"), "and is told that it cannot be shimmed");
	check_eq(RUN(&out, "-q", fixed), 7, "-q");
	check(!*said, "says nothing");
	name = script(fixed);
	check_eq(RUN(&out, name), 7, "a script of such an interpreter runs");
	check(!can || strstr(said, "statically linked"), "and is told");
	name = script("/bin/sh");
	check_eq(RUN(&out, name), 5, "another script runs");
	check(!can || !*said, "and nothing is said");
	narrow = static_program(ELFCLASS32);
	RUN(&out, narrow);
	check(!can || strstr(said, "64-bit"), "a 32-bit program is told");
	other = strdup(temp_path("setuid"));
	must(exited(run_for_output((char *[]){"cp", "/bin/true", (char *)other, NULL}, NULL, &out),
		    0));
	must(chmod(other, 04755) == 0);
	check_eq(RUN(&out, other), 0, "a setuid program runs");
	check(!can || strstr(said, "changes its user"), "and is told");
	unlink(fixed);
	unlink(narrow);
	unlink(name);
	unlink(other);
	return done();
}
