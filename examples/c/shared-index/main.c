// SPDX-License-Identifier: MIT
/*
 * One word index of every text file below some directories, in one region, built
 * by as many processes as one likes and read by others meanwhile. index.h has
 * the format. The same program in TypeScript: examples/ts/shared-index.
 */
#include "commands.h"

#include <errno.h>
#include <getopt.h>
#include <mshare.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: shared-index create [--window GIB] NAME DIRECTORY...   make the region, list the "
	"files\n"
	"       shared-index write NAME                               index files until none is "
	"left\n"
	"       shared-index ask NAME [QUERY]...                      or queries from stdin, one a "
	"line\n"
	"       shared-index status NAME                              how far it is\n"
	"       shared-index dump NAME                                every word: files, times, "
	"word\n"
	"       shared-index rm NAME\n"
	"A query is words that a file must all have; the last letters of one can be \"*\".\n";

unsigned long memory_status(const char *field)
{
	FILE *file = fopen("/proc/self/status", "re");
	size_t length = strlen(field);
	unsigned long value = 0;
	char line[256];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			value = strtoul(line + length + 1, NULL, 10);
	if (file != NULL)
		fclose(file);
	return value;
}

void print_memory(const struct index *ix, unsigned long tables)
{
	printf("memory pid=%d language=C base=%p tables_before=%lu tables=%lu shared=%lu\n",
	       (int)getpid(), (void *)ix->base, tables, memory_status("VmPTE"),
	       memory_status("RssShmem"));
	fflush(stdout);
}

static int wrong_usage(void)
{
	fputs(usage, stderr);
	return 2;
}

/* A positive number, or 0. */
static unsigned int number(const char *text)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	return errno != 0 || *end != '\0' || end == text || value > 1 << 20 ? 0
									    : (unsigned int)value;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {{"window", required_argument, NULL, 'w'},
						{"die-in-file", required_argument, NULL, 'f'},
						{"die-in-chunk", required_argument, NULL, 'c'},
						{0}};
	unsigned int window = 4, die_in_file = 0, die_in_chunk = 0;
	const char *command, *name;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned int *value = option == 'w'   ? &window
				      : option == 'f' ? &die_in_file
				      : option == 'c' ? &die_in_chunk
						      : NULL;

		if (value == NULL || (*value = number(optarg)) == 0)
			return wrong_usage();
	}
	if (argc - optind < 2)
		return wrong_usage();
	command = argv[optind++];
	name = argv[optind++];
	/* A machine so busy that a peer is not scheduled for 10 s is no reason to give up. */
	mshare_set_timeout(60000);
	if (strcmp(command, "create") == 0 && optind < argc)
		return command_create(name, (size_t)window << 30, argv + optind);
	if (strcmp(command, "ask") == 0)
		return command_ask(name, argv + optind);
	if (optind < argc)
		return wrong_usage();
	if (strcmp(command, "write") == 0)
		return command_write(name, die_in_file, die_in_chunk);
	if (strcmp(command, "status") == 0)
		return command_status(name);
	if (strcmp(command, "dump") == 0)
		return command_dump(name);
	if (strcmp(command, "rm") == 0) {
		if (mshare_unlink(name) == 0)
			return 0;
		fprintf(stderr, "shared-index: %s\n", mshare_errmsg());
		return 1;
	}
	return wrong_usage();
}
