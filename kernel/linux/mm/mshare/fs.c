// SPDX-License-Identifier: GPL-2.0-only
/*
 * mshare: msharefs, the file system whose files are regions. Directories, names
 * and rights are those of any file system in memory; a file's size is the window
 * of its region, and is given once.
 *
 * Names are pinned dentries, as in ramfs. An inode is evicted when its last name,
 * file and attachment (a vm_file) have gone, and the region goes with it.
 */
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/pagemap.h>
#include <linux/security.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/user_namespace.h>

#include "mshare.h"

/**
 * struct mshare_sb - of one mount, every one of which is its own instance
 * @lock: protects the counts and limits
 * @max_pages: size=
 * @pages: reserved by mappings
 * @max_inodes: nr_inodes=
 * @inodes: there are
 * @mode: of the root, and @uid and @gid: for show_options()
 */
struct mshare_sb {
	spinlock_t		lock;
	unsigned long		max_pages;
	unsigned long		pages;
	unsigned long		max_inodes;
	unsigned long		inodes;
	umode_t			mode;
	kuid_t			uid;
	kgid_t			gid;
};

/* What mount options say. */
struct mshare_options {
	unsigned long		max_pages;
	unsigned long		max_inodes;
	umode_t			mode;
	kuid_t			uid;
	kgid_t			gid;
	bool			has_pages;
	bool			has_inodes;
};

static struct kmem_cache *mshare_inode_cache;

static const struct inode_operations mshare_dir_operations;
static const struct inode_operations mshare_file_inode_operations;
static const struct file_operations mshare_file_operations;
static const struct file_operations mshare_info_operations;

static struct mshare_sb *sb_info(struct super_block *sb)
{
	return sb->s_fs_info;
}

bool mshare_is_region(const struct file *file)
{
	return file->f_op == &mshare_file_operations;
}

/* ---- limits ------------------------------------------------------------- */

static int charge_count(struct mshare_sb *info, unsigned long *used,
			const unsigned long *max, unsigned long n)
{
	int err = -ENOSPC;

	spin_lock(&info->lock);
	/* A remount never makes a limit less than what is used. */
	if (n <= *max - *used) {
		*used += n;
		err = 0;
	}
	spin_unlock(&info->lock);
	return err;
}

static void uncharge_count(struct mshare_sb *info, unsigned long *used,
			   unsigned long n)
{
	spin_lock(&info->lock);
	WARN_ON_ONCE(*used < n);
	*used -= n;
	spin_unlock(&info->lock);
}

int mshare_charge_pages(struct super_block *sb, unsigned long pages)
{
	struct mshare_sb *info = sb_info(sb);

	return charge_count(info, &info->pages, &info->max_pages, pages);
}

void mshare_uncharge_pages(struct super_block *sb, unsigned long pages)
{
	struct mshare_sb *info = sb_info(sb);

	uncharge_count(info, &info->pages, pages);
}

/* ---- inodes ------------------------------------------------------------- */

static struct inode *mshare_alloc_inode(struct super_block *sb)
{
	struct mshare_inode *inode;

	inode = alloc_inode_sb(sb, mshare_inode_cache, GFP_KERNEL);
	return inode ? &inode->vfs_inode : NULL;
}

static void mshare_free_inode(struct inode *inode)
{
	kmem_cache_free(mshare_inode_cache,
			container_of(inode, struct mshare_inode, vfs_inode));
}

static void mshare_init_once(void *p)
{
	struct mshare_inode *inode = p;

	inode_init_once(&inode->vfs_inode);
}

static void mshare_evict_inode(struct inode *inode)
{
	struct mshare_sb *info = sb_info(inode->i_sb);

	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
	/* Not one of nr_inodes= that somebody could be short of. */
	if (inode->i_fop == &mshare_info_operations)
		return;
	if (inode->i_fop == &mshare_file_operations)
		mshare_region_destroy(mshare_inode_region(inode));
	uncharge_count(info, &info->inodes, 1);
}

static struct inode *new_inode_of(struct super_block *sb, struct inode *dir,
				  umode_t mode)
{
	struct mshare_sb *info = sb_info(sb);
	struct inode *inode;

	if (charge_count(info, &info->inodes, &info->max_inodes, 1))
		return ERR_PTR(-ENOSPC);
	inode = new_inode(sb);
	if (!inode) {
		uncharge_count(info, &info->inodes, 1);
		return ERR_PTR(-ENOMEM);
	}
	inode->i_ino = get_next_ino();
	inode_init_owner(&nop_mnt_idmap, inode, dir, mode);
	simple_inode_init_ts(inode);
	if (S_ISDIR(mode)) {
		inode->i_op = &mshare_dir_operations;
		inode->i_fop = &simple_dir_operations;
		inc_nlink(inode);	/* "." */
	} else {
		inode->i_op = &mshare_file_inode_operations;
		inode->i_fop = &mshare_file_operations;
		mshare_region_init(mshare_inode_region(inode), sb);
	}
	return inode;
}

/* ---- names -------------------------------------------------------------- */

static struct inode *labelled_inode(struct inode *dir, const struct qstr *name,
				    umode_t mode)
{
	struct inode *inode = new_inode_of(dir->i_sb, dir, mode);
	int err;

	if (IS_ERR(inode))
		return inode;
	err = security_inode_init_security(inode, dir, name, NULL, NULL);
	if (err && err != -EOPNOTSUPP) {
		iput(inode);
		return ERR_PTR(err);
	}
	return inode;
}

static int make(struct inode *dir, struct dentry *dentry, umode_t mode)
{
	struct inode *inode = labelled_inode(dir, &dentry->d_name, mode);

	if (IS_ERR(inode))
		return PTR_ERR(inode);
	d_instantiate(dentry, inode);
	dget(dentry);			/* the name keeps it */
	inode_set_mtime_to_ts(dir, inode_set_ctime_current(dir));
	return 0;
}

static int mshare_create_file(struct mnt_idmap *idmap, struct inode *dir,
			      struct dentry *dentry, umode_t mode, bool excl)
{
	return make(dir, dentry, mode | S_IFREG);
}

static int mshare_mkdir(struct mnt_idmap *idmap, struct inode *dir,
			struct dentry *dentry, umode_t mode)
{
	int err = make(dir, dentry, mode | S_IFDIR);

	if (!err)
		inc_nlink(dir);
	return err;
}

static int mshare_tmpfile(struct mnt_idmap *idmap, struct inode *dir,
			  struct file *file, umode_t mode)
{
	struct inode *inode = labelled_inode(dir, &file->f_path.dentry->d_name,
					     mode);

	if (!IS_ERR(inode))
		d_tmpfile(file, inode);
	return finish_open_simple(file, PTR_ERR_OR_ZERO(inode));
}

/* The name that tells the alignment stays what and where it is. */
static bool is_info(const struct dentry *dentry)
{
	struct inode *inode = d_inode(dentry);

	return inode && inode->i_fop == &mshare_info_operations;
}

static int mshare_link(struct dentry *old, struct inode *dir,
		       struct dentry *dentry)
{
	return is_info(old) ? -EPERM : simple_link(old, dir, dentry);
}

static int mshare_unlink_name(struct inode *dir, struct dentry *dentry)
{
	return is_info(dentry) ? -EPERM : simple_unlink(dir, dentry);
}

static int mshare_rename(struct mnt_idmap *idmap, struct inode *old_dir,
			 struct dentry *old, struct inode *new_dir,
			 struct dentry *new, unsigned int flags)
{
	if (is_info(old) || is_info(new))
		return -EPERM;
	return simple_rename(idmap, old_dir, old, new_dir, new, flags);
}

static const struct inode_operations mshare_dir_operations = {
	.create		= mshare_create_file,
	.lookup		= simple_lookup,
	.link		= mshare_link,
	.unlink		= mshare_unlink_name,
	.mkdir		= mshare_mkdir,
	.rmdir		= simple_rmdir,
	.rename		= mshare_rename,
	.tmpfile	= mshare_tmpfile,
};

/* ---- files -------------------------------------------------------------- */

/* A size, once. Who gives the same again has what he wants. */
static int set_window(struct inode *inode, loff_t size)
{
	int err;

	if (size == i_size_read(inode))
		return 0;
	err = mshare_region_reserve(inode, size, 0);
	return err == -EEXIST ? -EINVAL : err;
}

static int mshare_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
			  struct iattr *iattr)
{
	struct inode *inode = d_inode(dentry);
	int err = setattr_prepare(&nop_mnt_idmap, dentry, iattr);

	if (err)
		return err;
	if (iattr->ia_valid & ATTR_SIZE) {
		err = set_window(inode, iattr->ia_size);
		if (err)
			return err;
	}
	setattr_copy(&nop_mnt_idmap, inode, iattr);
	return 0;
}

static long mshare_fallocate(struct file *file, int mode, loff_t offset,
			     loff_t len)
{
	struct inode *inode = file_inode(file);
	int err;

	if (mode)
		return -EOPNOTSUPP;
	inode_lock(inode);
	err = set_window(inode, offset + len);
	inode_unlock(inode);
	return err;
}

static const struct inode_operations mshare_file_inode_operations = {
	.setattr	= mshare_setattr,
	.getattr	= simple_getattr,
};

static const struct file_operations mshare_file_operations = {
	.llseek			= generic_file_llseek,
	.unlocked_ioctl		= mshare_ioctl,
	.compat_ioctl		= compat_ptr_ioctl,
	.mmap			= mshare_mmap,
	.get_unmapped_area	= mshare_get_unmapped_area,
	.fallocate		= mshare_fallocate,
	.fsync			= noop_fsync,
};

static ssize_t mshare_info_read(struct file *file, char __user *buf,
				size_t size, loff_t *pos)
{
	char text[24];
	int n = scnprintf(text, sizeof(text), "%lu\n", MSHARE_ALIGN);

	return simple_read_from_buffer(buf, size, pos, text, n);
}

static int mshare_info_setattr(struct mnt_idmap *idmap, struct dentry *dentry,
			       struct iattr *iattr)
{
	return -EPERM;
}

static const struct inode_operations mshare_info_inode_operations = {
	.setattr	= mshare_info_setattr,
	.getattr	= simple_getattr,
};

static const struct file_operations mshare_info_operations = {
	.read		= mshare_info_read,
	.llseek		= generic_file_llseek,
};

/* ---- mounts ------------------------------------------------------------- */

static int mshare_statfs(struct dentry *dentry, struct kstatfs *buf)
{
	struct mshare_sb *info = sb_info(dentry->d_sb);
	int err = simple_statfs(dentry, buf);

	if (err)
		return err;
	spin_lock(&info->lock);
	buf->f_blocks = info->max_pages;
	buf->f_bfree = buf->f_bavail = info->max_pages - info->pages;
	buf->f_files = info->max_inodes;
	buf->f_ffree = info->max_inodes - info->inodes;
	spin_unlock(&info->lock);
	return 0;
}

static int mshare_show_options(struct seq_file *seq, struct dentry *root)
{
	struct mshare_sb *info = sb_info(root->d_sb);

	seq_printf(seq, ",size=%luk", info->max_pages << (PAGE_SHIFT - 10));
	seq_printf(seq, ",nr_inodes=%lu", info->max_inodes);
	if (info->mode != (0777 | S_ISVTX))
		seq_printf(seq, ",mode=%03ho", info->mode);
	if (!uid_eq(info->uid, GLOBAL_ROOT_UID))
		seq_printf(seq, ",uid=%u",
			   from_kuid_munged(&init_user_ns, info->uid));
	if (!gid_eq(info->gid, GLOBAL_ROOT_GID))
		seq_printf(seq, ",gid=%u",
			   from_kgid_munged(&init_user_ns, info->gid));
	return 0;
}

static const struct super_operations mshare_super_operations = {
	.alloc_inode	= mshare_alloc_inode,
	.free_inode	= mshare_free_inode,
	.drop_inode	= generic_delete_inode,
	.evict_inode	= mshare_evict_inode,
	.statfs		= mshare_statfs,
	.show_options	= mshare_show_options,
};

/* The root, and in it the file that tells the alignment. */
static int make_root(struct super_block *sb, const struct mshare_options *opts)
{
	struct inode *root = new_inode_of(sb, NULL, opts->mode | S_IFDIR);
	struct dentry *dentry;
	struct inode *inode;

	if (IS_ERR(root))
		return PTR_ERR(root);
	root->i_uid = opts->uid;
	root->i_gid = opts->gid;
	sb->s_root = d_make_root(root);
	if (!sb->s_root)
		return -ENOMEM;

	dentry = d_alloc_name(sb->s_root, MSHAREFS_INFO_NAME);
	if (!dentry)
		return -ENOMEM;
	inode = new_inode(sb);
	if (!inode) {
		dput(dentry);
		return -ENOMEM;
	}
	inode->i_ino = get_next_ino();
	inode->i_mode = S_IFREG | 0444;
	simple_inode_init_ts(inode);
	inode->i_op = &mshare_info_inode_operations;
	inode->i_fop = &mshare_info_operations;
	d_add(dentry, inode);
	return 0;
}

static int mshare_fill_super(struct super_block *sb, struct fs_context *fc)
{
	struct mshare_options *opts = fc->fs_private;
	struct mshare_sb *info = kzalloc(sizeof(*info), GFP_KERNEL);

	if (!info)
		return -ENOMEM;
	spin_lock_init(&info->lock);
	/*
	 * As tmpfs: half of the memory. Not as many inodes, for a window takes
	 * some 10 KiB: a host mm, its PGD, a file.
	 */
	info->max_pages = opts->has_pages ? opts->max_pages :
					    totalram_pages() / 2;
	info->max_inodes = opts->has_inodes ? opts->max_inodes :
					      totalram_pages() / 8;
	info->mode = opts->mode;
	info->uid = opts->uid;
	info->gid = opts->gid;

	sb->s_fs_info = info;
	sb->s_maxbytes = MAX_LFS_FILESIZE;
	sb->s_blocksize = PAGE_SIZE;
	sb->s_blocksize_bits = PAGE_SHIFT;
	sb->s_magic = MSHAREFS_SUPER_MAGIC;
	sb->s_op = &mshare_super_operations;
	sb->s_time_gran = 1;
	/* Nothing is to be stacked on regions: attaching is what they are for. */
	sb->s_stack_depth = FILESYSTEM_MAX_STACK_DEPTH;
	return make_root(sb, opts);
}

static void mshare_kill_sb(struct super_block *sb)
{
	struct mshare_sb *info = sb_info(sb);

	kill_litter_super(sb);
	kfree(info);
}

enum mshare_param { Opt_size, Opt_nr_inodes, Opt_mode, Opt_uid, Opt_gid };

static const struct fs_parameter_spec mshare_parameters[] = {
	fsparam_string("size",		Opt_size),
	fsparam_string("nr_inodes",	Opt_nr_inodes),
	fsparam_u32oct("mode",		Opt_mode),
	fsparam_uid("uid",		Opt_uid),
	fsparam_gid("gid",		Opt_gid),
	{}
};

/* A number with k, m, g behind it, or a percentage of memory, in units. */
static int parse_amount(const char *text, bool percent, unsigned int shift,
			unsigned long *amount)
{
	unsigned long long n;
	char *rest;

	n = memparse(text, &rest);
	if (rest == text)
		return -EINVAL;
	if (percent && *rest == '%') {
		if (n > 100)
			return -EINVAL;
		n = n * totalram_pages() / 100;
		rest++;
	} else {
		n = (n >> shift) + !!(n & ((1ULL << shift) - 1));
	}
	if (*rest || n > LONG_MAX >> PAGE_SHIFT)
		return -EINVAL;
	*amount = n;
	return 0;
}

static int mshare_parse_param(struct fs_context *fc, struct fs_parameter *param)
{
	struct mshare_options *opts = fc->fs_private;
	struct fs_parse_result result;
	int opt = fs_parse(fc, mshare_parameters, param, &result);

	if (opt < 0)
		return opt;
	switch (opt) {
	case Opt_size:
		if (parse_amount(param->string, true, PAGE_SHIFT,
				 &opts->max_pages))
			return invalfc(fc, "size: %s", param->string);
		opts->has_pages = true;
		break;
	case Opt_nr_inodes:
		/* The root is one. */
		if (parse_amount(param->string, false, 0, &opts->max_inodes) ||
		    !opts->max_inodes)
			return invalfc(fc, "nr_inodes: %s", param->string);
		opts->has_inodes = true;
		break;
	case Opt_mode:
		if (result.uint_32 & ~07777)
			return invalfc(fc, "mode: %o", result.uint_32);
		opts->mode = result.uint_32;
		break;
	case Opt_uid:
		opts->uid = result.uid;
		break;
	case Opt_gid:
		opts->gid = result.gid;
		break;
	}
	return 0;
}

static int mshare_get_tree(struct fs_context *fc)
{
	return get_tree_nodev(fc, mshare_fill_super);
}

/* Limits can be changed, though not to less than what is used. */
static int mshare_reconfigure(struct fs_context *fc)
{
	struct mshare_sb *info = sb_info(fc->root->d_sb);
	struct mshare_options *opts = fc->fs_private;
	int err = 0;

	spin_lock(&info->lock);
	if ((opts->has_pages && opts->max_pages < info->pages) ||
	    (opts->has_inodes && opts->max_inodes < info->inodes)) {
		err = -EINVAL;
	} else {
		if (opts->has_pages)
			info->max_pages = opts->max_pages;
		if (opts->has_inodes)
			info->max_inodes = opts->max_inodes;
	}
	spin_unlock(&info->lock);
	return err ? invalfc(fc, "less than what is used") : 0;
}

static void mshare_free_fc(struct fs_context *fc)
{
	kfree(fc->fs_private);
}

static const struct fs_context_operations mshare_context_operations = {
	.parse_param	= mshare_parse_param,
	.get_tree	= mshare_get_tree,
	.reconfigure	= mshare_reconfigure,
	.free		= mshare_free_fc,
};

static int mshare_init_fs_context(struct fs_context *fc)
{
	struct mshare_options *opts = kzalloc(sizeof(*opts), GFP_KERNEL);

	if (!opts)
		return -ENOMEM;
	/* As /dev/shm: everybody makes files, and removes his own. */
	opts->mode = 0777 | S_ISVTX;
	opts->uid = current_fsuid();
	opts->gid = current_fsgid();
	fc->fs_private = opts;
	fc->ops = &mshare_context_operations;
	return 0;
}

static struct file_system_type mshare_fs_type = {
	.name			= "msharefs",
	.init_fs_context	= mshare_init_fs_context,
	.parameters		= mshare_parameters,
	.kill_sb		= mshare_kill_sb,
};

static int __init mshare_init(void)
{
	int err;

	mshare_inode_cache = kmem_cache_create("mshare_inode",
					       sizeof(struct mshare_inode), 0,
					       SLAB_RECLAIM_ACCOUNT |
					       SLAB_ACCOUNT,
					       mshare_init_once);
	if (!mshare_inode_cache)
		return -ENOMEM;
	err = sysfs_create_mount_point(fs_kobj, "mshare");
	if (err)
		goto free_cache;
	err = register_filesystem(&mshare_fs_type);
	if (err)
		goto remove_mount_point;
	return 0;

remove_mount_point:
	sysfs_remove_mount_point(fs_kobj, "mshare");
free_cache:
	kmem_cache_destroy(mshare_inode_cache);
	return err;
}
fs_initcall(mshare_init);
