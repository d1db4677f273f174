// SPDX-License-Identifier: MIT
#include "backend.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A struct that grows is zero in what the library that fills it does not know. */
static void copy_sized(void *to, size_t to_size, const void *from, size_t from_size)
{
	memset(to, 0, to_size);
	memcpy(to, from, to_size < from_size ? to_size : from_size);
}

static int info_get(int fd, struct mshare_info *info, size_t size)
{
	static const char verb[] = "mshare_info";
	struct mshare_info full = {.page_table_bytes = MSHARE_UNKNOWN};
	const struct backend *backend;
	struct statx st;

	if (!info || size < 2 * sizeof(uint32_t))
		return fail(EINVAL, "%s: no room for the answer (info %p, size %zu)", verb,
			    (void *)info, size);
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE, &st) == 0 && S_ISDIR(st.stx_mode)) {
		backend = root_backend(fd, verb);
		if (!backend)
			return -1;
	} else {
		backend = backend_of(fd, verb);
		if (!backend || backend->info(fd, &full) == -1)
			return -1;
	}
	full.backend = backend->id;
	full.capabilities = backend->capabilities;
	copy_sized(info, size, &full, sizeof(full));
	return 0;
}

/* A thread cancelled in here, in pread() for one, would leave memory behind. */
int mshare_info(int fd, struct mshare_info *info, size_t size)
{
	int result, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	result = info_get(fd, info, size);
	pthread_setcancelstate(cancel, NULL);
	return result;
}

static int mappings_get(int fd, struct mshare_mapping *out, size_t entry_size, size_t *count)
{
	static const char verb[] = "mshare_mappings";
	const struct backend *backend = backend_of(fd, verb);
	struct mshare_mapping *all;
	uint32_t number;
	size_t room;

	if (!backend)
		return -1;
	if (!count || (!out && *count) || entry_size < 2 * sizeof(uint64_t))
		return fail(EINVAL, "%s: no room for the answer (out %p, count %p, entry size %zu)",
			    verb, (void *)out, (void *)count, entry_size);
	if (backend->mappings(fd, &all, &number) == -1)
		return -1;
	room = *count;
	*count = number;
	for (size_t i = 0; i < number && number <= room; i++)
		copy_sized((char *)out + i * entry_size, entry_size, &all[i], sizeof(all[i]));
	free(all);
	if (number > room)
		return fail(ERANGE, "%s: the region has %u mappings, and there is room for %zu",
			    verb, number, room);
	return 0;
}

int mshare_mappings(int fd, struct mshare_mapping *out, size_t entry_size, size_t *count)
{
	int result, cancel;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	result = mappings_get(fd, out, entry_size, count);
	pthread_setcancelstate(cancel, NULL);
	return result;
}
