/* SPDX-License-Identifier: MIT */
/*
 * The version: of the header as text and as numbers, and of the library.
 */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	char text[32];

	snprintf(text, sizeof(text), "%d.%d.%d", MSHARE_VERSION_MAJOR, MSHARE_VERSION_MINOR,
		 MSHARE_VERSION_PATCH);
	check(strcmp(MSHARE_VERSION, text) == 0, "MSHARE_VERSION %s is %s", MSHARE_VERSION, text);
	check(strcmp(mshare_version(), MSHARE_VERSION) == 0, "mshare_version() is %s",
	      mshare_version());
	errno = EPERM;
	mshare_version();
	check_eq(errno, EPERM, "and leaves errno alone");
	return done();
}
