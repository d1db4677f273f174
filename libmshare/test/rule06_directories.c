/* SPDX-License-Identifier: MIT */
/* Rule 6: directories, and their rights, work as on any file system. */
#include "test.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	if (geteuid() != 0)
		skip_all("needs root: it becomes another user");
	const char *closed = unique("closed"), *group = unique("group");
	char in_closed[256], in_group[256], deep[256], name[512];
	int root = mshare_root();
	struct stat st;

	must(root >= 0);
	check(fcntl(root, F_GETFD) & FD_CLOEXEC, "the root's descriptor is close-on-exec");
	snprintf(in_closed, sizeof(in_closed), "%s/region", closed);
	snprintf(in_group, sizeof(in_group), "%s/region", group);
	check(mshare_mkdir(closed, 0700) == 0, "rule 6: mkdir");
	umask(027);
	check(mshare_mkdir(group, 0777) == 0, "rule 6: mkdir with a umask");
	umask(022);
	check(fstatat(root, group, &st, 0) == 0 && (st.st_mode & 07777) == 0750,
	      "rule 6: the mode less the umask");
	check_error(mshare_mkdir(closed, 0700), EEXIST, "rule 6: mkdir of what exists");
	int a = mshare_open(in_closed, O_RDWR | O_CREAT | O_EXCL, 0666);
	int b = mshare_open(in_group, O_RDWR | O_CREAT | O_EXCL, 0666);

	check(a >= 0 && b >= 0, "rule 6: regions in directories");
	must(mshare_reserve(a, NULL, GIB) == 0 && mshare_reserve(b, NULL, GIB) == 0);
	snprintf(deep, sizeof(deep), "%s/sub", closed);
	check(mshare_mkdir(deep, 0700) == 0, "rule 6: a directory in a directory");
	snprintf(name, sizeof(name), "%s/region", deep);
	int c = mshare_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);

	check(c >= 0, "rule 6: a region in that");
	check_error(mshare_rmdir(deep), ENOTEMPTY, "rule 6: rmdir of what is not empty");
	check_error(mshare_rmdir(name), ENOTDIR, "rule 6: rmdir of a region");
	check_error(mshare_unlink(deep), EISDIR, "rule 6: unlink of a directory");
	check(mshare_unlink(name) == 0 && mshare_rmdir(deep) == 0, "rule 6: unlink, then rmdir");
	check_error(mshare_rmdir(deep), ENOENT, "rule 6: rmdir of what is not there");
	check_error(mshare_open(name, O_RDWR | O_CREAT, 0600), ENOENT,
		    "rule 6: no region in a directory that is not there");
	check_error(mshare_mkdir(name, 0700), ENOENT, "rule 6: nor a directory");

	/* Who may not pass through a directory may not reach what is in it. */
	struct peer p = peer_exec();

	must(fchownat(root, group, 0, STRANGER, 0) == 0);
	must(p_become(&p, STRANGER, STRANGER) == 0);
	check_peer_error(p_open(&p, in_closed, O_RDONLY, 0), EACCES,
			 "rule 6: a readable region in a closed directory");
	check_peer_error(p_unlink(&p, in_closed), EACCES, "rule 6: nor can it be unlinked");
	check_peer_error(p_mkdir(&p, deep, 0700), EACCES, "rule 6: nor a directory made in it");
	check(p_open(&p, in_group, O_RDONLY, 0) >= 0,
	      "rule 6: the group gets through its directory");
	check_peer_error(p_unlink(&p, in_group), EACCES, "rule 6: and may not unlink there");
	snprintf(name, sizeof(name), "%s/new", group);
	check_peer_error(p_open(&p, name, O_RDWR | O_CREAT, 0600), EACCES, "rule 6: nor create");
	must(fchmodat(root, group, 0770, 0) == 0);
	check(p_open(&p, name, O_RDWR | O_CREAT, 0600) >= 0, "rule 6: until the mode says so");
	check(fstatat(root, name, &st, 0) == 0 && st.st_uid == STRANGER && st.st_gid == STRANGER,
	      "rule 6: what it makes is its own");
	check(p_unlink(&p, name) == 0, "rule 6: and it may unlink it");
	check_peer_error(p_rmdir(&p, closed), EACCES, "rule 6: another's directory stays");

	/* Sticky: one's own only. */
	must(fchmodat(root, group, 01777, 0) == 0);
	check_peer_error(p_unlink(&p, in_group), EPERM, "rule 6: a sticky directory");
	check(mshare_unlink(in_group) == 0 && mshare_unlink(in_closed) == 0, "rule 6: unlink");
	check(mshare_rmdir(group) == 0 && mshare_rmdir(closed) == 0, "rule 6: rmdir");
	check(p_end(&p), "the peer ended well");
	return done();
}
