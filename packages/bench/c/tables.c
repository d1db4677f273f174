// SPDX-License-Identifier: MIT
/*
 * The page tables of the regions that a process is attached to, in bytes, whether or not anybody
 * has a name or a descriptor of them: by way of /proc/PID/map_files, for root.
 *
 *	tables PID
 */
#include <errno.h>
#include <fcntl.h>
#include <mshare.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char path[64], line[512], range[64];
	unsigned long long sum = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", argc > 1 ? atoi(argv[1]) : 0);
	maps = fopen(path, "re");
	if (!maps) {
		fprintf(stderr, "tables: %s: %s\n", path, strerror(errno));
		return 1;
	}
	while (fgets(line, sizeof(line), maps)) {
		struct mshare_info info;
		int fd;

		if (sscanf(line, "%63s rw-s", range) != 1)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%.40s", atoi(argv[1]), range);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd == -1)
			continue;
		if (mshare_info(fd, &info, sizeof(info)) == 0 &&
		    info.backend == MSHARE_BACKEND_MSHAREFS &&
		    info.page_table_bytes != MSHARE_UNKNOWN)
			sum += info.page_table_bytes;
		close(fd);
	}
	fclose(maps);
	printf("%llu\n", sum);
	return 0;
}
