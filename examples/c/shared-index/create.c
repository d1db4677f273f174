// SPDX-License-Identifier: MIT
/* The creator: makes the region and lists the files. It need not live on. */
#include "commands.h"

#include <errno.h>
#include <fts.h>
#include <mshare.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int list_files(struct index *ix, struct index_file **last, const char *directory)
{
	char *path = realpath(directory, NULL);
	char *roots[] = {path, NULL};
	FTSENT *entry;
	int result = 0;
	FTS *fts;

	if (path == NULL) {
		snprintf(ix->error, sizeof(ix->error), "%s: %s", directory, strerror(errno));
		return -1;
	}
	fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (fts == NULL) {
		snprintf(ix->error, sizeof(ix->error), "%s: %s", directory, strerror(errno));
		free(path);
		return -1;
	}
	while (result == 0 && (entry = fts_read(fts)) != NULL) {
		if (entry->fts_info == FTS_DNR && entry->fts_level > 0)
			fprintf(stderr, "shared-index: left out: %s: %s\n", entry->fts_path,
				strerror(entry->fts_errno));
		if (entry->fts_info == FTS_F && entry->fts_pathlen <= INDEX_PATH_MAX)
			result = index_add_file(ix, last, entry->fts_path);
	}
	fts_close(fts);
	free(path);
	return result;
}

int command_create(const char *name, size_t window, char *const directories[])
{
	struct index_file *last = NULL;
	struct mshare_info info;
	struct index ix;
	int result = 0;

	if (index_create(&ix, name, window) != 0) {
		fprintf(stderr, "shared-index: %s\n", ix.error);
		return 1;
	}
	while (result == 0 && *directories != NULL)
		result = list_files(&ix, &last, *directories++);
	if (result == 0) {
		index_publish(&ix);
		mshare_info(ix.fd, &info, sizeof(info));
		printf("created files=%llu base=%p window=%zu backend=%s\n",
		       (unsigned long long)ix.header->file_count, (void *)ix.base, ix.window,
		       info.backend == MSHARE_BACKEND_MSHAREFS ? "msharefs" : "shm");
	} else {
		fprintf(stderr, "shared-index: %s\n", ix.error);
		mshare_unlink(name);
	}
	index_close(&ix);
	return result == 0 ? 0 : 1;
}
